// SPDX-License-Identifier: Apache-2.0
// The names of the library, for headers that only mention them.
#pragma once

#include "redlock/version.hpp"

namespace redlock::inline v0_1 {

namespace hiredis {
class Transport;
}

class Endpoints;
class Error;
class Failure;
class LeaseClock;
class Resources;
class Token;
struct Handoff;
struct Inspection;
struct LockOptions;
struct Options;

template <class T>
class Result;

template <class Transport, class Clock>
class BasicRedlock;
template <class Transport, class Clock>
class BasicLock;
template <class Transport, class Clock>
class BasicMutex;

/// On hiredis, by the clock that counts suspended time.
using Redlock = BasicRedlock<hiredis::Transport, LeaseClock>;
using Lock = BasicLock<hiredis::Transport, LeaseClock>;
using Mutex = BasicMutex<hiredis::Transport, LeaseClock>;

namespace detail {
template <class Transport, class Clock>
class Client;
template <class TimePoint>
class Lease;
}  // namespace detail

}  // namespace redlock::inline v0_1

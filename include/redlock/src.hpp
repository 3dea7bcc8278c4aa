// SPDX-License-Identifier: Apache-2.0
// The compiled library, for one source file of a program that sets REDLOCK_COMPILED for all others: what the
// faces declare is defined here, and compiled for hiredis once. It is the file's first include.
#pragma once

#ifdef REDLOCK_INLINE
#error "<redlock/src.hpp> must be the first include of redlock in its file"
#endif
#define REDLOCK_SOURCE

#include "redlock/custom.hpp"
#include "redlock/mutex.hpp"
#include "redlock/redlock.hpp"

template class redlock::BasicRedlock<redlock::hiredis::Transport, redlock::LeaseClock>;
template class redlock::BasicLock<redlock::hiredis::Transport, redlock::LeaseClock>;
template class redlock::BasicMutex<redlock::hiredis::Transport, redlock::LeaseClock>;

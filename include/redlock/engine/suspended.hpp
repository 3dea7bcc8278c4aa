// SPDX-License-Identifier: Apache-2.0
// What a coroutine is suspended on.
#pragma once

#include <coroutine>
#include <cstdint>

#include "redlock/engine/timers.hpp"

namespace redlock::inline v0_1::detail {

struct Call;

/// What a coroutine is resumed with.
enum class Verdict : std::uint8_t {
    carried,     ///< a quorum said yes; of anything but a round: what it was suspended on has happened
    impossible,  ///< a quorum cannot say yes any more
    timed_out,   ///< the deadline came first
    cancelled,   ///< a stop was requested
    put_off,     ///< it was not sent: connections are being made that are worth waiting for
};

struct SuspendedBase {
    enum class Kind : std::uint8_t {
        time,         ///< until its deadline, or until it is resumed by another coroutine
        turn,         ///< until a driver takes it
        round,        ///< until a verdict
        connections,  ///< until a quorum is connected, or no more connections can be hoped for
    };

    explicit SuspendedBase(Kind what) : kind{what} {}
    SuspendedBase(const SuspendedBase&) = delete;
    SuspendedBase& operator=(const SuspendedBase&) = delete;

    const Kind kind;
    bool decided = false;
    Verdict verdict = Verdict::timed_out;
    Call* call = nullptr;                  ///< on whose behalf; none: nobody can cancel it
    std::coroutine_handle<> continuation;  ///< none: nobody waits, and the deadline means nothing

   protected:
    ~SuspendedBase() = default;
};

/// It is resumed by its deadline at the latest.
template <class TimePoint>
struct Suspended : SuspendedBase, TimerEntry<TimePoint> {
    explicit Suspended(TimePoint until, Kind what = Kind::time)
        : SuspendedBase{what}, TimerEntry<TimePoint>{until} {}
};

}  // namespace redlock::inline v0_1::detail

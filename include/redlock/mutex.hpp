// SPDX-License-Identifier: Apache-2.0
// Mutex: a resource for the standard library's locks.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>

#include "redlock/fwd.hpp"
#include "redlock/lock.hpp"
#include "redlock/options.hpp"
#include "redlock/redlock.hpp"
#include "redlock/result.hpp"

namespace redlock::inline v0_1 {

namespace detail {

class Turns;
struct EndTurns {
    void operator()(Turns* turns) const noexcept;
};

/// The time left until a point in time, rounded up, and at most a year.
template <class AnyClock, class Duration>
[[nodiscard]] std::chrono::nanoseconds left_until(const std::chrono::time_point<AnyClock, Duration>& when) {
    using Seconds = std::chrono::duration<long double>;
    constexpr std::chrono::nanoseconds longest = std::chrono::hours{24 * 365};
    const auto now = AnyClock::now();
    // The exact difference of what is far apart need not fit into a duration; that of two numbers does.
    const Seconds left = Seconds{when.time_since_epoch()} - Seconds{now.time_since_epoch()};
    if (left >= Seconds{longest}) return longest;
    if (!(left > Seconds{-1})) return std::chrono::nanoseconds{0};
    const auto exact = std::chrono::ceil<std::chrono::nanoseconds>(when - now);
    return exact.count() > 0 ? exact : std::chrono::nanoseconds{0};
}

}  // namespace detail

/// Meets the standard's Lockable and TimedLockable requirements: for std::unique_lock, std::lock_guard,
/// std::scoped_lock and std::lock. One object is a mutex between the threads of this process too. The
/// Redlock must outlive it, and may not be moved meanwhile. Not recursive; the thread that locked it must
/// unlock it. Two Mutexes of one resource are two contenders for it: a std::scoped_lock over both, in which
/// each keeps the other out, tries for ever.
///
/// Thread-safe as a standard mutex is. In a forked child lock() and the tries throw, and unlock(), for a
/// guard that ends there, does nothing: the parent still holds it.
///
/// A lease ends by its ttl whether or not it was unlocked: use `.renew = true` where the work may take
/// longer, and watch lost().
template <class Transport, class Clock>
class BasicMutex {
   public:
    using lock_type = BasicLock<Transport, Clock>;

    /// LockOptions::wait bounds lock(); 0 there means that it waits as long as another holds the resource,
    /// and throws when for a second no quorum could be reached. Throws std::invalid_argument for what
    /// Redlock::lock() would refuse: then no call of this Mutex could ever work.
    BasicMutex(BasicRedlock<Transport, Clock>& locks, Resources resources, LockOptions how = {});
    BasicMutex(const BasicMutex&) = delete;
    BasicMutex& operator=(const BasicMutex&) = delete;
    ~BasicMutex();

    /// Waits for its turn among the threads of this process, and then as Redlock::lock() does. Throws
    /// redlock::Error where it cannot, and when a stop is requested.
    void lock();

    /// One attempt: blocks as Redlock::try_lock() does. False when another holds it, here or elsewhere, or it
    /// cannot be decided: last_failure() says why. Throws redlock::Error{invalid_argument} where it can never
    /// be had, as after a fork; so do the two below.
    [[nodiscard]] bool try_lock();

    /// Goes on trying until the time is over, and returns false then; sooner only where a stop is requested,
    /// or Options::retry or LockOptions::wait_unreachable give up. Blocks for at most that time, or as long
    /// as try_lock() does where that is longer.
    template <class Rep, class Period>
    [[nodiscard]] bool try_lock_for(const std::chrono::duration<Rep, Period>& timeout) {
        // Compared as a floating-point number: what a caller means by for ever need not fit into a time
        // point.
        using Seconds = std::chrono::duration<long double>;
        const Seconds asked = timeout;
        if (!(asked > Seconds::zero())) return try_lock();
        constexpr Nanoseconds longest = std::chrono::hours{24 * 365};
        const auto left = asked < Seconds{longest} ? std::chrono::ceil<Nanoseconds>(timeout) : longest;
        return try_lock_until(std::chrono::steady_clock::now() + left);
    }

    /// The same until a time point of any clock, which is read again when the time that was left has passed.
    template <class AnyClock, class Duration>
    [[nodiscard]] bool try_lock_until(const std::chrono::time_point<AnyClock, Duration>& when) {
        for (;;) {
            const Attempt attempt = attempt_for(detail::left_until(when));
            if (attempt == Attempt::had_no_time && detail::left_until(when) > Nanoseconds::zero()) continue;
            return attempt == Attempt::got;
        }
    }

    /// Why the last try_lock(), try_lock_for() or try_lock_until(), of whichever thread, gave false; none
    /// when it gave true, and before the first. Thread-safe; never blocks for long.
    [[nodiscard]] std::optional<Failure> last_failure() const;

    /// Blocks at most node_timeout. Never throws: what could not be confirmed ends by the ttl.
    void unlock() noexcept;

    /// The lock held, for its fencing token, remaining time and lost(). Only between lock() and unlock().
    [[nodiscard]] lock_type& held() noexcept { return *lock_; }

   private:
    using Nanoseconds = std::chrono::nanoseconds;
    enum class Attempt : std::uint8_t { got, had_no_time, gave_up };

    [[nodiscard]] Attempt attempt_for(Nanoseconds left);
    void check() const;

    BasicRedlock<Transport, Clock>& locks_;
    const Resources resources_;
    const LockOptions how_;
    const std::unique_ptr<detail::Turns, detail::EndTurns> turns_;  ///< of the threads of this process
    std::optional<lock_type> lock_;                                 ///< of the thread whose turn it is
};

}  // namespace redlock::inline v0_1

#ifdef REDLOCK_COMPILED
extern template class redlock::BasicMutex<redlock::hiredis::Transport, redlock::LeaseClock>;
#else
#include "redlock/impl/mutex.hpp"
#endif

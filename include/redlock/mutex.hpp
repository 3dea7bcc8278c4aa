// SPDX-License-Identifier: Apache-2.0
// Mutex: a resource as the standard library's locks want it.
#pragma once

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <mutex>
#include <optional>
#include <stdexcept>
#include <string>
#include <utility>

#include "redlock/redlock.hpp"

namespace redlock::inline v0_1 {

/// Meets the standard's Lockable and TimedLockable requirements: for std::unique_lock, std::lock_guard,
/// std::scoped_lock and std::lock. One object is a mutex between the threads of this process too. The
/// Redlock must outlive it, and may not be moved meanwhile. Not recursive; to be unlocked by whoever locked
/// it. Two Mutexes of one resource are two contenders for it: a std::scoped_lock over both, in which each
/// keeps the other out, tries for ever.
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
    BasicMutex(BasicRedlock<Transport, Clock>& locks, Resources resources, LockOptions how = {})
        : locks_{locks}, resources_{std::move(resources)}, how_{std::move(how)} {
        if (const auto bad = locks.check(resources_, how_)) {
            throw std::invalid_argument{"redlock: Mutex: " + bad->message()};
        }
    }
    BasicMutex(const BasicMutex&) = delete;
    BasicMutex& operator=(const BasicMutex&) = delete;
    ~BasicMutex() = default;

    /// Waits for its turn among the threads of this process, and then as Redlock::lock() does. Throws
    /// redlock::Error where it cannot, and when a stop is requested.
    void lock() {
        check();
        const bool is_bounded = how_.wait.count() != 0 && how_.wait != forever;
        const SteadyTime end = is_bounded ? SteadyClock::now() + how_.wait : SteadyTime{};
        if (is_bounded ? !take_turn(end) : !take_turn()) throw Error{held_here()};
        Turn turn{*this};
        LockOptions how = how_;
        how.wait = is_bounded ? std::chrono::ceil<std::chrono::milliseconds>(left_until(end)) : forever;
        if (how_.wait.count() == 0) how.wait_unreachable = std::min(how.wait_unreachable, patience);
        turn.keep(locks_.lock(resources_, how).value());
    }

    /// One attempt: blocks as Redlock::try_lock() does. False when another holds it, here or elsewhere, or it
    /// cannot be decided: last_failure() says why. Throws redlock::Error{invalid_argument} where it can never
    /// be had, as after a fork; so do the two below.
    [[nodiscard]] bool try_lock() { return try_lock_until(SteadyTime{}); }

    /// False no sooner than the time is over, but where a stop is requested, or Options::retry or
    /// LockOptions::wait_unreachable give up before. Blocks for as long, and at least as try_lock() does.
    template <class Rep, class Period>
    [[nodiscard]] bool try_lock_for(const std::chrono::duration<Rep, Period>& timeout) {
        // Compared as a floating-point number: what a caller means by for ever need not fit into a time
        // point.
        const Seconds asked = timeout;
        if (!(asked > Seconds::zero())) return try_lock();
        const auto left = asked < Seconds{longest} ? std::chrono::ceil<Nanoseconds>(timeout) : longest;
        return try_lock_until(SteadyClock::now() + left);
    }

    /// The same by a clock of the caller's, which is asked again when as much time as it had left has passed.
    template <class AnyClock, class Duration>
    [[nodiscard]] bool try_lock_until(const std::chrono::time_point<AnyClock, Duration>& when) {
        for (;;) {
            const Attempt attempt = attempt_for(left_until(when));
            if (attempt == Attempt::had_no_time && left_until(when) > Nanoseconds::zero()) continue;
            return attempt == Attempt::got;
        }
    }

    /// Why the last try_lock(), try_lock_for() or try_lock_until(), of whichever thread, gave false; none
    /// when it gave true, and before the first. Thread-safe; never blocks for long.
    [[nodiscard]] std::optional<Failure> last_failure() const {
        if (is_forked()) return std::nullopt;
        const std::lock_guard lock{mutex_};
        return last_failure_;
    }

    /// Blocks at most node_timeout. Never throws: what could not be confirmed ends by the ttl.
    void unlock() noexcept {
        lock_.reset();
        give_turn();
    }

    /// The lock held, for its fencing token, remaining time and lost(). Only between lock() and unlock().
    [[nodiscard]] lock_type& held() noexcept { return *lock_; }

   private:
    using SteadyClock = std::chrono::steady_clock;
    using SteadyTime = SteadyClock::time_point;
    using Nanoseconds = std::chrono::nanoseconds;
    using Seconds = std::chrono::duration<long double>;
    static constexpr std::chrono::milliseconds patience = std::chrono::seconds{1};
    static constexpr Nanoseconds longest = std::chrono::hours{24 * 365};  // of one attempt

    enum class Attempt : std::uint8_t { got, had_no_time, gave_up };

    /// Whose turn it is among the threads of this process, until it has the lock or gives up.
    class Turn {
       public:
        explicit Turn(BasicMutex& mutex) : mutex_{&mutex} {}
        Turn(const Turn&) = delete;
        Turn& operator=(const Turn&) = delete;
        ~Turn() {
            if (mutex_ != nullptr) mutex_->give_turn();
        }
        void keep(lock_type lock) { std::exchange(mutex_, nullptr)->lock_.emplace(std::move(lock)); }

       private:
        BasicMutex* mutex_;
    };

    [[nodiscard]] Failure held_here() const {
        const auto& names = resources_.names();
        return Failure{how_.stop.stop_requested() ? errc::cancelled : errc::contended,
                       "a thread of this process holds " +
                           (names.empty() ? std::string{"nothing"} : detail::in_quotes(names.front()))};
    }

    [[nodiscard]] Attempt attempt_for(Nanoseconds left) {
        check();
        const SteadyTime end = SteadyClock::now() + left;
        if (!take_turn(end)) {
            note(held_here());
            return how_.stop.stop_requested() ? Attempt::gave_up : Attempt::had_no_time;
        }
        Turn turn{*this};
        LockOptions how = how_;
        how.wait = std::chrono::ceil<std::chrono::milliseconds>(left_until(end));
        const auto began = locks_.now();
        auto result = locks_.lock(resources_, how);
        if (result) {
            note(std::nullopt);
            turn.keep(*std::move(result));
            return Attempt::got;
        }
        const Failure& failure = result.error();
        note(failure);
        if (failure == errc::invalid_argument) throw Error{failure};
        if (failure == errc::cancelled) return Attempt::gave_up;
        const bool was_short = locks_.now() - began < how.wait;
        return was_short && may_give_up() ? Attempt::gave_up : Attempt::had_no_time;
    }

    /// Before the turn is waited for, which in a forked child never comes.
    void check() const {
        if (auto bad = locks_.check(resources_, how_)) throw Error{*std::move(bad)};
    }

    /// Then a thread that does not exist here may hold the mutex.
    [[nodiscard]] bool is_forked() const noexcept { return locks_.client_->is_forked(); }

    /// Whether a wait may end before its time by what the user has set.
    [[nodiscard]] bool may_give_up() const {
        const RetryPolicy& retry = locks_.client_->options().retry;
        return retry.decide || retry.max_attempts != 0 || how_.wait_unreachable != forever;
    }

    void note(std::optional<Failure> failure) {
        const std::lock_guard lock{mutex_};
        last_failure_ = std::move(failure);
    }

    /// Rounded up, and no longer than a year.
    template <class AnyClock, class Duration>
    [[nodiscard]] static Nanoseconds left_until(const std::chrono::time_point<AnyClock, Duration>& when) {
        const auto now = AnyClock::now();
        // The exact difference of what is far apart need not fit.
        const Seconds left = Seconds{when.time_since_epoch()} - Seconds{now.time_since_epoch()};
        if (left >= Seconds{longest}) return longest;
        if (!(left > Seconds{-1})) return Nanoseconds::zero();
        return std::max(std::chrono::ceil<Nanoseconds>(when - now), Nanoseconds::zero());
    }

    /// False when a stop was requested first.
    bool take_turn() {
        std::unique_lock lock{mutex_};
        if (!freed_.wait(lock, how_.stop, [this] { return !is_taken_; })) return false;
        return is_taken_ = true;
    }

    bool take_turn(SteadyTime until) {
        std::unique_lock lock{mutex_};
        if (!freed_.wait_until(lock, how_.stop, until, [this] { return !is_taken_; })) return false;
        return is_taken_ = true;
    }

    void give_turn() noexcept {
        if (is_forked()) return;
        const std::lock_guard lock{mutex_};
        is_taken_ = false;
        freed_.notify_one();
    }

    BasicRedlock<Transport, Clock>& locks_;
    const Resources resources_;
    const LockOptions how_;

    mutable std::mutex mutex_;
    std::condition_variable_any freed_;
    bool is_taken_ = false;                // guarded by mutex_
    std::optional<Failure> last_failure_;  // guarded by mutex_
    std::optional<lock_type> lock_;        // whose turn it is
};

/// The mutex of a Redlock on hiredis.
using Mutex = BasicMutex<hiredis::Transport, LeaseClock>;

}  // namespace redlock::inline v0_1

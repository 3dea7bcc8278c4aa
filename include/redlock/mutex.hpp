// SPDX-License-Identifier: Apache-2.0
// Mutex: a resource as the standard library's locks want it.
#pragma once

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <mutex>
#include <optional>
#include <string>
#include <utility>

#include "redlock/redlock.hpp"

namespace redlock {

/// Meets the standard's Lockable and TimedLockable requirements: for std::unique_lock, std::lock_guard,
/// std::scoped_lock and std::lock. One object is a mutex between the threads of this process too. The
/// Redlock must outlive it, and may not be moved meanwhile. Not recursive; to be unlocked by whoever locked
/// it.
///
/// A lease ends by its ttl whether or not it was unlocked: use `.renew = true` where the work may take
/// longer, and watch lost().
template <class Transport = hiredis::Transport, class Clock = LeaseClock>
class Mutex {
   public:
    using lock_type = BasicLock<Transport, Clock>;

    /// LockOptions::wait bounds lock(); 0 there means that it waits as long as another holds the resource,
    /// and throws when for a second no quorum could be reached.
    Mutex(Redlock<Transport, Clock>& locks, Resources resources, LockOptions how = {})
        : locks_{locks}, resources_{std::move(resources)}, how_{std::move(how)} {}
    Mutex(const Mutex&) = delete;
    Mutex& operator=(const Mutex&) = delete;
    ~Mutex() = default;

    /// Throws redlock::Error where it cannot, and when a stop is requested.
    void lock() {
        const bool is_bounded = how_.wait.count() != 0 && how_.wait != forever;
        const SteadyTime end = is_bounded ? SteadyClock::now() + how_.wait : SteadyTime{};
        if (is_bounded ? !take_turn(end) : !take_turn()) throw Error{held_here()};
        Turn turn{*this};
        LockOptions how = how_;
        how.wait = is_bounded ? left_until(end) : forever;
        if (how_.wait.count() == 0) how.wait_unreachable = std::min(how.wait_unreachable, patience);
        turn.keep(locks_.lock(resources_, how).value());
    }

    /// One attempt. False when another holds it, here or elsewhere, or it cannot be decided.
    [[nodiscard]] bool try_lock() { return try_lock_until(SteadyTime{}); }

    template <class Rep, class Period>
    [[nodiscard]] bool try_lock_for(const std::chrono::duration<Rep, Period>& timeout) {
        // Compared as a floating-point number: what a caller means by for ever need not fit into a time
        // point.
        constexpr std::chrono::duration<double> longest = std::chrono::hours{24 * 365};
        const auto bounded = std::clamp<std::chrono::duration<double>>(
            timeout, std::chrono::duration<double>::zero(), longest);
        return try_lock_until(SteadyClock::now() + std::chrono::ceil<SteadyClock::duration>(bounded));
    }

    template <class AnyClock, class Duration>
    [[nodiscard]] bool try_lock_until(const std::chrono::time_point<AnyClock, Duration>& when) {
        const SteadyTime end = SteadyClock::now() + left_until(when);
        if (!take_turn(end)) return false;
        Turn turn{*this};
        LockOptions how = how_;
        how.wait = left_until(end);
        auto result = locks_.lock(resources_, how);
        if (!result) return false;
        turn.keep(*std::move(result));
        return true;
    }

    /// Never throws: what could not be confirmed ends by the ttl.
    void unlock() noexcept {
        lock_.reset();
        give_turn();
    }

    /// The lock held, for its fencing token, remaining time and lost(). Only between lock() and unlock().
    [[nodiscard]] lock_type& held() noexcept { return *lock_; }

   private:
    using SteadyClock = std::chrono::steady_clock;
    using SteadyTime = SteadyClock::time_point;
    static constexpr std::chrono::milliseconds patience = std::chrono::seconds{1};

    /// Whose turn it is among the threads of this process, until it has the lock or gives up.
    class Turn {
       public:
        explicit Turn(Mutex& mutex) : mutex_{&mutex} {}
        Turn(const Turn&) = delete;
        Turn& operator=(const Turn&) = delete;
        ~Turn() {
            if (mutex_ != nullptr) mutex_->give_turn();
        }
        void keep(lock_type lock) { std::exchange(mutex_, nullptr)->lock_.emplace(std::move(lock)); }

       private:
        Mutex* mutex_;
    };

    [[nodiscard]] Failure held_here() const {
        const auto& names = resources_.names();
        return Failure{how_.stop.stop_requested() ? errc::cancelled : errc::contended,
                       "a thread of this process holds " +
                           (names.empty() ? std::string{"nothing"} : detail::in_quotes(names.front()))};
    }

    template <class AnyClock, class Duration>
    [[nodiscard]] static std::chrono::milliseconds left_until(
        const std::chrono::time_point<AnyClock, Duration>& when) {
        constexpr std::chrono::milliseconds longest = std::chrono::hours{24 * 365};
        const auto now = AnyClock::now();
        if (when <= now) return std::chrono::milliseconds{0};  // before: a difference may not fit
        const auto left = when - now;
        return left >= longest ? longest : std::chrono::duration_cast<std::chrono::milliseconds>(left);
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
        const std::lock_guard lock{mutex_};
        is_taken_ = false;
        freed_.notify_one();
    }

    Redlock<Transport, Clock>& locks_;
    const Resources resources_;
    const LockOptions how_;

    std::mutex mutex_;
    std::condition_variable_any freed_;
    bool is_taken_ = false;          // guarded by mutex_
    std::optional<lock_type> lock_;  // whose turn it is
};

}  // namespace redlock

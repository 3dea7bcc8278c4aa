// Mutex: a resource as the standard library's locks want it.
#pragma once

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <mutex>
#include <optional>
#include <utility>

#include "redlock/redlock.hpp"

namespace redlock {

/// Meets the standard's Lockable and TimedLockable requirements: for std::unique_lock, std::lock_guard,
/// std::scoped_lock and std::lock. One object is a mutex between the threads of this process too. The
/// Redlock must outlive it. Not recursive; to be unlocked by whoever locked it.
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
        constexpr std::chrono::milliseconds patience = std::chrono::seconds{1};
        const bool is_bounded = how_.wait.count() != 0 && how_.wait != forever;
        const SteadyTime end = SteadyClock::now() + (is_bounded ? how_.wait : patience);
        if (is_bounded ? !take_turn(end) : !take_turn()) {
            const bool is_stopped = how_.stop.stop_requested();
            throw Error{
                Failure{is_stopped ? errc::cancelled : errc::contended, "held by a thread of this process"}};
        }
        Turn turn{*this};
        for (;;) {
            const bool is_patient = how_.wait.count() == 0;
            auto result = locks_.lock(resources_, with_wait(is_bounded   ? left_until(end)
                                                            : is_patient ? patience
                                                                         : forever));
            if (!result && is_patient && result.error() == errc::contended) continue;
            return turn.keep(std::move(result).value());
        }
    }

    /// One attempt. False when another holds it, here or elsewhere, or it cannot be decided.
    [[nodiscard]] bool try_lock() { return try_lock_until(SteadyTime{}); }

    template <class Rep, class Period>
    [[nodiscard]] bool try_lock_for(const std::chrono::duration<Rep, Period>& timeout) {
        // Compared as a floating-point number: what a caller means by for ever need not fit into a time
        // point.
        constexpr std::chrono::duration<double> longest = std::chrono::hours{24 * 365};
        const auto bounded = std::min<std::chrono::duration<double>>(timeout, longest);
        return try_lock_until(SteadyClock::now() + std::chrono::ceil<SteadyClock::duration>(bounded));
    }

    template <class AnyClock, class Duration>
    [[nodiscard]] bool try_lock_until(const std::chrono::time_point<AnyClock, Duration>& when) {
        if (!take_turn(when)) return false;
        Turn turn{*this};
        auto result = locks_.lock(resources_, with_wait(left_until(when)));
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

    [[nodiscard]] LockOptions with_wait(std::chrono::milliseconds wait) const {
        LockOptions how = how_;
        how.wait = wait;
        return how;
    }

    template <class AnyClock, class Duration>
    [[nodiscard]] static std::chrono::milliseconds left_until(
        const std::chrono::time_point<AnyClock, Duration>& when) {
        constexpr std::chrono::milliseconds longest = std::chrono::hours{24 * 365};
        const auto left = when - AnyClock::now();
        if (left >= longest) return longest;
        return std::max(std::chrono::milliseconds{0},
                        std::chrono::duration_cast<std::chrono::milliseconds>(left));
    }

    /// False when a stop was requested first.
    bool take_turn() {
        std::unique_lock lock{mutex_};
        if (!freed_.wait(lock, how_.stop, [this] { return !is_taken_; })) return false;
        return is_taken_ = true;
    }

    template <class TimePoint>
    bool take_turn(const TimePoint& until) {
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

// SPDX-License-Identifier: Apache-2.0
// The definitions of BasicMutex. Included by mutex.hpp, behind the declarations.
#pragma once

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <optional>
#include <stdexcept>
#include <stop_token>
#include <string>
#include <utility>

#include "redlock/impl/redlock.hpp"
#include "redlock/system/fork.hpp"
#include "redlock/text/printable.hpp"

namespace redlock::inline v0_1 {

namespace detail {

/// Whose turn it is among the threads of this process, and how the last attempt of theirs failed.
/// Thread-safe.
class Turns {
   public:
    using SteadyTime = std::chrono::steady_clock::time_point;

    /// False when a stop was requested, or the time was over, first.
    [[nodiscard]] bool take(const std::stop_token& stop, std::optional<SteadyTime> until) {
        std::unique_lock lock{mutex_};
        const auto is_free = [this] { return !is_taken_; };
        const bool is_ours =
            until ? freed_.wait_until(lock, stop, *until, is_free) : freed_.wait(lock, stop, is_free);
        if (is_ours) is_taken_ = true;
        return is_ours;
    }

    void give() noexcept {
        if (fork_mark_.is_forked()) return;  // a thread that does not exist here may hold the mutex
        const std::lock_guard lock{mutex_};
        is_taken_ = false;
        freed_.notify_one();
    }

    void note(std::optional<Failure> failure) {
        const std::lock_guard lock{mutex_};
        last_failure_ = std::move(failure);
    }
    [[nodiscard]] std::optional<Failure> last_failure() const {
        if (fork_mark_.is_forked()) return std::nullopt;
        const std::lock_guard lock{mutex_};
        return last_failure_;
    }

    [[nodiscard]] bool is_forked() const noexcept { return fork_mark_.is_forked(); }

   private:
    mutable std::mutex mutex_;
    std::condition_variable_any freed_;
    bool is_taken_ = false;
    std::optional<Failure> last_failure_;
    ForkMark fork_mark_;
};

/// In a forked child they stay: a condition variable cannot be destroyed while threads wait for it, also
/// where these do not exist.
inline void EndTurns::operator()(Turns* turns) const noexcept {
    if (!turns->is_forked()) delete turns;
}

/// A turn that was taken, given back unless it is kept.
class Turn {
   public:
    explicit Turn(Turns& turns) noexcept : turns_{&turns} {}
    Turn(const Turn&) = delete;
    Turn& operator=(const Turn&) = delete;
    ~Turn() {
        if (turns_ != nullptr) turns_->give();
    }
    void keep() noexcept { turns_ = nullptr; }

   private:
    Turns* turns_;
};

[[nodiscard]] inline Failure held_here(const Resources& resources, const LockOptions& how) {
    const auto& names = resources.names();
    return Failure{how.stop.stop_requested() ? errc::cancelled : errc::contended,
                   "a thread of this process holds " +
                       (names.empty() ? std::string{"nothing"} : in_quotes(names.front()))};
}

}  // namespace detail

template <class Transport, class Clock>
BasicMutex<Transport, Clock>::BasicMutex(BasicRedlock<Transport, Clock>& locks, Resources resources,
                                         LockOptions how)
    : locks_{locks}, resources_{std::move(resources)}, how_{std::move(how)}, turns_{new detail::Turns} {
    if (const auto bad = detail::check_call(locks_.client_, resources_.names(), how_)) {
        throw std::invalid_argument{"redlock: Mutex: " + bad->message()};
    }
}

template <class Transport, class Clock>
BasicMutex<Transport, Clock>::~BasicMutex() = default;

template <class Transport, class Clock>
void BasicMutex<Transport, Clock>::lock() {
    constexpr std::chrono::milliseconds patience = std::chrono::seconds{1};
    check();
    const bool is_bounded = how_.wait.count() != 0 && how_.wait != forever;
    std::optional<detail::Turns::SteadyTime> end;
    if (is_bounded) end = std::chrono::steady_clock::now() + how_.wait;
    if (!turns_->take(how_.stop, end)) throw Error{detail::held_here(resources_, how_)};
    detail::Turn turn{*turns_};
    LockOptions how = how_;
    how.wait = is_bounded ? std::chrono::ceil<std::chrono::milliseconds>(detail::left_until(*end)) : forever;
    if (how_.wait.count() == 0) how.wait_unreachable = std::min(how.wait_unreachable, patience);
    lock_.emplace(locks_.lock(resources_, how).value());
    turn.keep();
}

template <class Transport, class Clock>
bool BasicMutex<Transport, Clock>::try_lock() {
    return try_lock_until(detail::Turns::SteadyTime{});
}

template <class Transport, class Clock>
auto BasicMutex<Transport, Clock>::attempt_for(Nanoseconds left) -> Attempt {
    check();
    const detail::Turns::SteadyTime end = std::chrono::steady_clock::now() + left;
    if (!turns_->take(how_.stop, end)) {
        turns_->note(detail::held_here(resources_, how_));
        return how_.stop.stop_requested() ? Attempt::gave_up : Attempt::had_no_time;
    }
    detail::Turn turn{*turns_};
    LockOptions how = how_;
    how.wait = std::chrono::ceil<std::chrono::milliseconds>(detail::left_until(end));
    const auto began = locks_.client_->now();
    auto result = locks_.lock(resources_, how);
    if (result) {
        turns_->note(std::nullopt);
        lock_.emplace(*std::move(result));
        turn.keep();
        return Attempt::got;
    }
    const Failure& failure = result.error();
    turns_->note(failure);
    if (failure == errc::invalid_argument) throw Error{failure};
    if (failure == errc::cancelled) return Attempt::gave_up;
    const bool was_short = locks_.client_->now() - began < how.wait;
    // A wait may end before its time by what the user has set.
    const RetryPolicy& retry = locks_.client_->options().retry;
    const bool may_give_up = retry.decide || retry.max_attempts != 0 || how_.wait_unreachable != forever;
    return was_short && may_give_up ? Attempt::gave_up : Attempt::had_no_time;
}

/// Before the turn is waited for, which in a forked child never comes.
template <class Transport, class Clock>
void BasicMutex<Transport, Clock>::check() const {
    if (auto bad = detail::check_call(locks_.client_, resources_.names(), how_)) throw Error{*std::move(bad)};
}

template <class Transport, class Clock>
std::optional<Failure> BasicMutex<Transport, Clock>::last_failure() const {
    return turns_->last_failure();
}

template <class Transport, class Clock>
void BasicMutex<Transport, Clock>::unlock() noexcept {
    lock_.reset();
    turns_->give();
}

}  // namespace redlock::inline v0_1

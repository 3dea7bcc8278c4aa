// SPDX-License-Identifier: Apache-2.0
// The one thread that a client may have, for what no caller waits for.
#pragma once

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <mutex>
#include <optional>
#include <system_error>
#include <thread>
#include <utility>

#include "redlock/engine/engine.hpp"
#include "redlock/renewal/renewer.hpp"
#include "redlock/system/threads.hpp"

namespace redlock::inline v0_1::detail {

/// Runs the renewer when a lease is due, and finishes what callers have left unfinished. To the engine it is
/// one more caller that waits. The thread starts when it first has something to do. Thread-safe.
template <class Transport, class Clock>
class BackgroundThread {
   public:
    using TimePoint = typename Clock::time_point;

    BackgroundThread(Engine<Transport, Clock>& engine, Renewer<Transport, Clock>& renewer)
        : engine_{engine}, renewer_{renewer} {}
    BackgroundThread(const BackgroundThread&) = delete;
    BackgroundThread& operator=(const BackgroundThread&) = delete;
    ~BackgroundThread() = default;  // it has been joined

    /// Throws std::system_error where the system gives no thread, so that no caller relies on it in vain.
    void start() {
        const std::lock_guard lock{mutex_};
        if (!is_running_ && !stop_by_) start_running();
    }

    /// Ends the thread; until then it waits for renewals under way. False: it runs a user's callback, which
    /// may wait for the thread that calls this.
    [[nodiscard]] bool stop(TimePoint until) {
        std::unique_lock lock{mutex_};
        stop_by_ = until;
        look_again();
        while (is_running_ && !is_in_callback_) changed_.wait(lock);
        return !is_running_;
    }

    /// The same, but waits for the callback too.
    void join(TimePoint until) {
        {
            const std::lock_guard lock{mutex_};
            stop_by_ = until;
            look_again();
        }
        if (thread_.joinable()) thread_.join();
    }

    [[nodiscard]] bool is_this_thread() const noexcept {
        return std::this_thread::get_id() == thread_.get_id();
    }

    void on_due_changed() {
        const std::lock_guard lock{mutex_};
        look_again();
    }

    void on_callback(bool is_running) {
        const std::lock_guard lock{mutex_};
        is_in_callback_ = is_running;
        changed_.notify_all();
    }

    /// By every caller that leaves something unfinished; only the first of them wakes the thread.
    void on_unfinished() noexcept {
        const std::lock_guard lock{mutex_};
        ++unfinished_count_;
        if (std::exchange(has_unfinished_, true)) return;
        look_again();
    }

    void on_reminder(TimePoint when) noexcept {
        const std::lock_guard lock{mutex_};
        if (!std::exchange(reminder_, when)) look_again();
    }

   private:
    /// With the mutex held: something has changed, whatever the thread waits for.
    void look_again() {
        has_changed_ = true;
        if (call_ != nullptr) engine_.interrupt(*call_);
        changed_.notify_all();
        if (is_running_ || stop_by_) return;
        try {
            start_running();
        } catch (const std::system_error&) {  // it is tried again at the next change; callers drive meanwhile
            has_unfinished_ = false;
        }
    }

    void start_running() {
        thread_ = start_thread([this] {
            run();
            const std::lock_guard lock{mutex_};
            is_running_ = false;
            changed_.notify_all();
        });
        is_running_ = true;
    }

    void run() {
        std::uint64_t unfinished_before = 0;
        for (;;) {
            std::optional<TimePoint> due = renewer_.run_due();
            const bool is_renewing = renewer_.renewals() > 0;
            std::unique_lock lock{mutex_};
            if (stop_by_ && (!is_renewing || (engine_.now() - *stop_by_).count() >= 0)) return;
            if (reminder_ && (engine_.now() - *reminder_).count() >= 0) {
                make_turn(lock);
                continue;
            }
            if (reminder_) due = due ? first_of(*due, *reminder_) : *reminder_;
            if (is_renewing) {
                attend(lock, due, false);
            } else if (has_unfinished_ && unfinished_before == unfinished_count_) {
                has_unfinished_ =
                    false;  // no caller has come for a quiet period: nobody else would finish it
                attend(lock, due, true);
            } else {
                const TimePoint soon = engine_.now() + quiet_period;
                if (has_unfinished_) due = due ? first_of(*due, soon) : soon;
                unfinished_before = unfinished_count_;
                sleep(lock, due);
            }
        }
    }

    /// Waits on the engine, as any caller does: for renewals, or until nothing is unfinished.
    void attend(std::unique_lock<std::mutex>& lock, std::optional<TimePoint> due, bool is_background) {
        if (std::exchange(has_changed_, false)) {
            has_unfinished_ = has_unfinished_ || is_background;
            return;
        }
        if (stop_by_) due = due ? first_of(*due, *stop_by_) : *stop_by_;
        if (due) due = first_of(*due, engine_.now() + longest_wait);
        Call call;
        call.is_background = is_background;
        call_ = &call;
        lock.unlock();
        engine_.drive_or_park(call, due);
        lock.lock();
        call_ = nullptr;
    }

    /// The turn that the engine asked for. Where another thread drives, which may or may not make it, it is
    /// tried again after a while.
    void make_turn(std::unique_lock<std::mutex>& lock) {
        const TimePoint asked_for = *reminder_;
        lock.unlock();
        const bool was_made = engine_.try_take_turn();
        lock.lock();
        if (*reminder_ != asked_for) return;  // another turn has been asked for
        reminder_.reset();
        if (!was_made) reminder_ = engine_.now() + longest_wait;
    }

    void sleep(std::unique_lock<std::mutex>& lock, const std::optional<TimePoint>& due) {
        if (!due) {
            while (!has_changed_) changed_.wait(lock);
        } else if (const std::chrono::nanoseconds left = -(engine_.now() - *due); left.count() > 0) {
            changed_.wait_for(lock, std::min(left, longest_wait), [this] { return has_changed_; });
        }
        has_changed_ = false;
    }

    /// A wait does not count the time in which the machine is suspended, but leases do.
    static constexpr std::chrono::nanoseconds longest_wait = std::chrono::seconds{1};
    static constexpr std::chrono::nanoseconds quiet_period = std::chrono::milliseconds{5};

    Engine<Transport, Clock>& engine_;
    Renewer<Transport, Clock>& renewer_;

    std::mutex mutex_;
    std::condition_variable changed_;
    std::uint64_t unfinished_count_ = 0;  ///< how often a caller has left something unfinished
    bool has_unfinished_ = false;
    bool has_changed_ = false;
    Call* call_ = nullptr;               ///< while the thread waits on the engine
    std::optional<TimePoint> reminder_;  ///< when the engine needs a turn
    std::optional<TimePoint> stop_by_;
    bool is_running_ = false;
    bool is_in_callback_ = false;  ///< of a user
    std::thread thread_;
};

}  // namespace redlock::inline v0_1::detail

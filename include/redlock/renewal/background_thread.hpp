// SPDX-License-Identifier: Apache-2.0
// The one thread that a Redlock may have, for what nobody else waits for.
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

/// Ticks the keeper, and sees to what callers left over. To the engine it is one more caller that waits.
/// The thread is started when there is first something to do.
template <class Transport, class Clock>
class BackgroundThread {
   public:
    using TimePoint = typename Clock::time_point;

    BackgroundThread(Engine<Transport, Clock>& engine, Renewer<Transport, Clock>& renewer)
        : engine_{engine}, renewer_{renewer} {}
    BackgroundThread(const BackgroundThread&) = delete;
    BackgroundThread& operator=(const BackgroundThread&) = delete;
    ~BackgroundThread() = default;  // it has been joined

    /// Throws std::system_error where no thread can be had: for what the caller is to rely on.
    void start() {
        const std::lock_guard lock{mutex_};
        if (!is_running_ && !stop_by_) start_running();
    }

    /// Ends the thread; renewals under way are awaited until then. False: a callback of the user's is
    /// running, which may wait for who calls this.
    [[nodiscard]] bool stop(TimePoint until) {
        std::unique_lock lock{mutex_};
        stop_by_ = until;
        look_again();
        changed_.wait(lock, [this] { return !is_running_ || is_calling_back_; });
        return !is_running_;
    }

    /// The same, and waits for such a callback as well.
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
        is_calling_back_ = is_running;
        changed_.notify_all();
    }

    /// Called by every caller that leaves something over; only the first of them wakes the thread.
    void on_unfinished() noexcept {
        const std::lock_guard lock{mutex_};
        ++departures_;
        if (std::exchange(has_leftovers_, true)) return;
        look_again();
    }

    void on_reminder(TimePoint when) noexcept {
        const std::lock_guard lock{mutex_};
        if (!std::exchange(reminder_, when)) look_again();
    }

   private:
    /// With the mutex held: whatever the thread waits for, there is something new.
    void look_again() {
        has_news_ = true;
        if (call_ != nullptr) engine_.interrupt(*call_);
        changed_.notify_all();
        if (is_running_ || stop_by_) return;
        try {
            start_running();
        } catch (const std::system_error&) {  // then at the next news; callers drive meanwhile
            has_leftovers_ = false;
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
        constexpr std::chrono::nanoseconds quiet = std::chrono::milliseconds{5};
        std::uint64_t departures = 0;
        for (;;) {
            std::optional<TimePoint> due = renewer_.tick();
            const bool is_renewing = renewer_.renewals() > 0;
            std::unique_lock lock{mutex_};
            if (stop_by_ && (!is_renewing || (engine_.now() - *stop_by_).count() >= 0)) return;
            if (reminder_ && (engine_.now() - *reminder_).count() >= 0) {
                heed_reminder(lock);
                continue;
            }
            if (reminder_) due = due ? first_of(*due, *reminder_) : *reminder_;
            if (is_renewing) {
                attend(lock, due, false);
            } else if (has_leftovers_ && departures == departures_) {
                has_leftovers_ = false;  // callers have been quiet: nobody else would see to it
                attend(lock, due, true);
            } else {
                const TimePoint soon = engine_.now() + quiet;
                if (has_leftovers_) due = due ? first_of(*due, soon) : soon;
                departures = departures_;
                sleep(lock, due);
            }
        }
    }

    /// Waits on the engine, as any caller does: for renewals, or until nothing is left over.
    void attend(std::unique_lock<std::mutex>& lock, std::optional<TimePoint> due, bool is_background) {
        if (std::exchange(has_news_, false)) {
            has_leftovers_ = has_leftovers_ || is_background;
            return;
        }
        if (stop_by_) due = due ? first_of(*due, *stop_by_) : *stop_by_;
        if (due) due = first_of(*due, engine_.now() + slice);
        Call call;
        call.is_background = is_background;
        call_ = &call;
        lock.unlock();
        engine_.drive_or_park(call, due);
        lock.lock();
        call_ = nullptr;
    }

    /// Again after a while where somebody drives, who may see to it or not.
    void heed_reminder(std::unique_lock<std::mutex>& lock) {
        const TimePoint heeded = *reminder_;
        lock.unlock();
        const bool is_done = engine_.try_take_turn();
        lock.lock();
        if (*reminder_ != heeded) return;  // there is another by now
        reminder_.reset();
        if (!is_done) reminder_ = engine_.now() + slice;
    }

    void sleep(std::unique_lock<std::mutex>& lock, const std::optional<TimePoint>& due) {
        const auto has_news = [this] { return has_news_; };
        if (!due) {
            changed_.wait(lock, has_news);
        } else if (const std::chrono::nanoseconds left = -(engine_.now() - *due); left.count() > 0) {
            changed_.wait_for(lock, std::min(left, slice), has_news);
        }
        has_news_ = false;
    }

    /// No wait is longer: none counts the time in which the machine is suspended, and leases do.
    static constexpr std::chrono::nanoseconds slice = std::chrono::seconds{1};

    Engine<Transport, Clock>& engine_;
    Renewer<Transport, Clock>& renewer_;

    std::mutex mutex_;
    std::condition_variable changed_;
    std::uint64_t departures_ = 0;  ///< of callers that left something over
    Call* call_ = nullptr;          ///< while the thread attends
    bool has_news_ = false;
    bool has_leftovers_ = false;
    std::optional<TimePoint> reminder_;
    std::optional<TimePoint> stop_by_;
    bool is_running_ = false;
    bool is_calling_back_ = false;  ///< into code of the user's
    std::thread thread_;
};

}  // namespace redlock::inline v0_1::detail

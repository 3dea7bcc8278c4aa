// SPDX-License-Identifier: Apache-2.0
// Whichever thread waits for its call drives.
//
// The mutex guards the inbox, the calls and the election of the driver; all else belongs to the driver. It is
// never held while the driver is in the transport.
#pragma once

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <utility>
#include <vector>

#include "redlock/clock.hpp"
#include "redlock/engine/call.hpp"
#include "redlock/engine/dispatcher.hpp"
#include "redlock/engine/driver_election.hpp"
#include "redlock/engine/round.hpp"
#include "redlock/engine/upcalls.hpp"
#include "redlock/options.hpp"
#include "redlock/system/ref.hpp"

namespace redlock::inline v0_1::detail {

template <class Transport, class Clock>
class EventLoop : private DriverEvents {
   public:
    using TimePoint = typename Clock::time_point;
    using SuspendedPtr = Ref<Suspended<TimePoint>>;

    EventLoop(std::unique_ptr<Transport> transport, Clock clock, const Options& options)
        : transport_{std::move(transport)},
          clock_{std::move(clock)},
          options_{options},
          dispatcher_{*transport_, clock_, options_, *this} {}

    EventLoop(const EventLoop&) = delete;
    EventLoop& operator=(const EventLoop&) = delete;

    /// Before the first call.
    void set_upcalls(Upcalls<TimePoint>* upcalls) noexcept {
        upcalls_ = upcalls;
        dispatcher_.set_upcalls(upcalls);
    }

    // ---- for everyone, at any time -----------------------------------------------------------------

    [[nodiscard]] TimePoint now() const { return clock_.now(); }
    [[nodiscard]] std::int64_t wall_us() const { return clock_.wall_us(); }
    [[nodiscard]] const Options& options() const noexcept { return options_; }
    [[nodiscard]] std::size_t size() const noexcept { return transport_->size(); }
    [[nodiscard]] Transport& transport() noexcept { return *transport_; }

    // ---- for what coroutines await -----------------------------------------------------------------

    /// Hands in what a coroutine is suspended on: from here on another thread may resume it.
    void submit(SuspendedPtr suspended) {
        Lock lock{mutex_};
        inbox_.push_back(std::move(suspended));
        wake_driver(lock);
    }

    /// Finishes a call until its own thread has run an errand.
    void hand_back(Call& call, Errand& errand) {
        const Lock lock{mutex_};
        call.errand = &errand;
        election_.finish(call);
    }

    /// By the call's own thread; the call goes on after that.
    [[nodiscard]] Errand& take_errand(Call& call) {
        const Lock lock{mutex_};
        call.is_finished = false;
        return *std::exchange(call.errand, nullptr);
    }

    // ---- for calls ---------------------------------------------------------------------------------

    /// Drives or parks until the call is finished, or until a point in time. Where memory runs out the
    /// process ends here: a driver that left half-way would leave all others without one, and its own call in
    /// use.
    void drive_or_park(Call& call, std::optional<TimePoint> until = std::nullopt) noexcept {
        Lock lock{mutex_};
        while (!call.is_finished && !has_passed(until)) {
            if (election_.has_driver() && !park(call, until, lock)) continue;
            election_.become_driver();
            while (!call.is_finished && !has_passed(until) && turn(lock, &call, until)) {
                const bool may_leave = dispatcher_.settled() || election_.has_parked();
                if (call.is_background && may_leave) call.is_finished = true;
            }
            if (election_.is_driver()) leave(lock);
        }
        if (!election_.has_driver() && !inbox_.empty()) {  // by a task that never suspended
            election_.become_driver();
            leave(lock);
        }
    }

    /// By the driver, or by the call's own thread before it drives or parks.
    void finish(Call& call) {
        const Lock lock{mutex_};
        std::erase(cancelled_, &call);
        election_.finish(call);
    }

    /// Resumes the call's coroutine with Verdict::cancelled. Thread-safe. Two threads may cancel one call: it
    /// is listed once, since it may be gone when the first of them has ended it.
    void cancel(Call& call) {
        Lock lock{mutex_};
        const bool is_over = call.is_finished && call.errand == nullptr;
        std::erase(cancelled_, &call);
        if (!is_over) cancelled_.push_back(&call);
        wake_driver(lock);
    }

    /// Has drive_or_park() return, though the call's coroutine goes on. Thread-safe.
    void interrupt(Call& call) {
        Lock lock{mutex_};
        election_.interrupt(call);
        wake_driver(lock);
    }

    /// For the last owner, when nobody else calls any more: drives until all is answered, at most `until`.
    void drain(TimePoint until) noexcept {
        Lock lock{mutex_};
        election_.become_driver();
        take_inbox(lock);
        while (!has_passed(until) && (transport_->unfinished() || dispatcher_.has_unanswered())) {
            static_cast<void>(turn(lock, nullptr, until));
        }
    }

    /// For the last owner, after that: resumes all coroutines; nothing is sent any more.
    void end_waits() noexcept {
        dispatcher_.end_waits();
        Lock lock{mutex_};
        take_inbox(lock);
    }

    /// One turn that waits for nothing. For one thread that drives always, with an event loop of its own.
    void take_turn() {
        Lock lock{mutex_};
        election_.become_driver();
        if (turn(lock, nullptr, now())) leave(lock);
    }

    /// The same for any thread. False: another drives, and has not taken a turn for this.
    [[nodiscard]] bool try_take_turn() noexcept {
        {
            const Lock lock{mutex_};
            if (election_.has_driver()) return false;
            election_.become_driver();
        }
        take_turn();
        return true;
    }

    /// When a turn has something to do at the latest, as far as the engine itself knows.
    [[nodiscard]] std::optional<TimePoint> next_timer() const { return dispatcher_.next_timer(); }

    /// Whether nothing is left to be done for a node. For a driver between its turns.
    [[nodiscard]] bool is_settled() const { return dispatcher_.settled(); }

   protected:
    ~EventLoop() = default;

    [[nodiscard]] Dispatcher<Transport, Clock>& dispatcher() noexcept { return dispatcher_; }
    [[nodiscard]] Upcalls<TimePoint>* upcalls() const noexcept { return upcalls_; }

   private:
    using Lock = DriverElection::Lock;

    [[nodiscard]] bool has_passed(const std::optional<TimePoint>& until) const {
        return until && (now() - *until).count() >= 0;
    }

    /// After a change that a waiting driver has to see. Unlocks before it wakes.
    void wake_driver(Lock& lock) {
        if (!std::exchange(must_wake_driver_, false)) return;
        lock.unlock();
        transport_->wake();
    }

    /// By the driver. Unlocks meanwhile.
    void take_inbox(Lock& lock) {
        while (!inbox_.empty() || !cancelled_.empty()) {
            starting_.swap(inbox_);
            cancelling_.swap(cancelled_);
            lock.unlock();
            for (Call* call : cancelling_) {
                call->cancelled = true;
                if (call->current != nullptr) dispatcher_.decide(*call->current, Verdict::cancelled);
            }
            for (SuspendedPtr& suspended : starting_) dispatcher_.begin(std::move(suspended));
            cancelling_.clear();
            starting_.clear();
            lock.lock();
        }
    }

    // ---- parking -----------------------------------------------------------------------------------

    /// True when this thread is to drive: it was named, or the thread that should drive does not.
    [[nodiscard]] bool park(Call& call, const std::optional<TimePoint>& until, Lock& lock) {
        election_.add(call);
        bool takes_over = false;
        std::chrono::nanoseconds check_after = first_check();
        while (!election_.park(call, until ? std::min(check_after, -(now() - *until)) : check_after, lock)) {
            takes_over = takes_over_for(call, check_after);
            if (takes_over || has_passed(until)) break;
        }
        return election_.remove(call) || takes_over;
    }

    [[nodiscard]] std::chrono::nanoseconds first_check() const noexcept {
        return std::chrono::nanoseconds{options_.node_timeout} / 4;
    }

    /// The scheduler or a debugger may keep a driver from running, while others need their answers in time. A
    /// parked thread takes over from one that was named and has not begun, and from one that does not come
    /// back from its wait though it should. While the driver waits the mutex guards what a call is suspended
    /// on.
    [[nodiscard]] bool takes_over_for(const Call& call, std::chrono::nanoseconds& check_after) {
        check_after = first_check();
        if (election_.withdraw_next()) return true;
        if (!election_.is_waiting()) return false;
        if (call.current != nullptr) {
            const auto& suspended = static_cast<const Suspended<TimePoint>&>(*call.current);
            const std::chrono::nanoseconds left = -(now() - suspended.deadline);
            if (left > options_.node_timeout) {
                check_after = left - options_.node_timeout;
                return false;
            }
        }
        return transport_->take_over();
    }

    // ---- driving -----------------------------------------------------------------------------------

    /// One turn: starts what was handed in, writes, waits, reads. The mutex is held before and after. False:
    /// another thread drives by now.
    [[nodiscard]] bool turn(Lock& lock, const Call* own, const std::optional<TimePoint>& until) {
        take_inbox(lock);
        if (own != nullptr && own->is_finished) return true;
        const bool may_wait = !election_.has_to_unpark();
        must_wake_driver_ = may_wait;
        lock.unlock();
        const bool drives = dispatcher_.poll(may_wait, until);
        if (drives) election_.unpark_finished();
        lock.lock();
        if (drives) must_wake_driver_ = false;
        return drives;
    }

    /// The driver leaves: nothing handed in stays unwritten, and a thread that still waits drives.
    void leave(Lock& lock) {
        take_inbox(lock);
        lock.unlock();
        transport_->flush();
        election_.unpark_finished();
        const bool is_settled = dispatcher_.settled();
        lock.lock();
        if (election_.hand_over(lock) || is_settled || upcalls_ == nullptr) return;
        lock.unlock();
        upcalls_->on_unfinished();
        lock.lock();
    }

    void on_waiting() noexcept override { election_.set_waiting(true); }

    bool on_awake() override {
        const Lock lock{mutex_};
        if (!election_.is_driver()) return false;
        election_.set_waiting(false);
        must_wake_driver_ = false;
        return true;
    }

    std::unique_ptr<Transport> transport_;
    Clock clock_;
    Options options_;
    Upcalls<TimePoint>* upcalls_ = nullptr;

    // the driver's
    Dispatcher<Transport, Clock> dispatcher_;
    std::vector<SuspendedPtr> starting_;
    std::vector<Call*> cancelling_;

    std::mutex mutex_;
    std::vector<SuspendedPtr> inbox_;
    std::vector<Call*> cancelled_;
    DriverElection election_;
    bool must_wake_driver_ = false;  ///< it is in the transport's poll, and does not know yet of a change
};

}  // namespace redlock::inline v0_1::detail

// SPDX-License-Identifier: Apache-2.0
// Rounds in flight, timers, and the rule that whoever waits drives.
//
// There is no I/O thread. A caller that has to wait becomes the driver if there is none: it writes what
// all have handed in, reads the replies, and resumes the coroutines they decide. The others sleep until
// their own call is finished. A driver whose call is finished hands over to one that still waits.
//
// The mutex guards the inbox, the sleepers and the flags; everything else belongs to the driver of the
// moment. It is never held while the driver is in the transport.
#pragma once

#include <algorithm>
#include <atomic>
#include <chrono>
#include <coroutine>
#include <cstddef>
#include <exception>
#include <memory>
#include <mutex>
#include <optional>
#include <stop_token>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include "redlock/clock.hpp"
#include "redlock/engine/call.hpp"
#include "redlock/engine/dispatcher.hpp"
#include "redlock/engine/round.hpp"
#include "redlock/engine/task.hpp"
#include "redlock/engine/transport.hpp"
#include "redlock/options.hpp"

namespace redlock::inline v0_1::detail {

/// Sees to what no caller waits for. Told with no lock held.
template <class TimePoint>
struct Caretaker {
    /// By a caller that leaves, when there is something left to do for a node (see Rounds::settled) and
    /// nobody waits any more who would drive.
    virtual void on_unfinished() noexcept = 0;
    /// By a driver: from then on a turn has something to do, whether or not anybody calls. Only the last
    /// counts.
    virtual void on_reminder(TimePoint when) noexcept = 0;

   protected:
    ~Caretaker() = default;
};

template <class Transport, class Clock>
class Engine final : private DriverEvents {
   public:
    using TimePoint = typename Clock::time_point;
    using RoundPtr = std::shared_ptr<Round<TimePoint>>;
    using SuspendedPtr = std::shared_ptr<Suspended<TimePoint>>;

    Engine(std::unique_ptr<Transport> transport, Clock clock, const Options& options)
        : transport_{std::move(transport)},
          clock_{std::move(clock)},
          options_{options},
          dispatcher_{*transport_, clock_, options_, *this} {}

    Engine(const Engine&) = delete;
    Engine& operator=(const Engine&) = delete;
    ~Engine() = default;

    /// Who is told what arrives on the channel; set before the first call.
    void set_listener(Listener* listener) noexcept { dispatcher_.set_listener(listener); }

    /// Who is told of work left over; set before the first call.
    void set_caretaker(Caretaker<TimePoint>* caretaker) noexcept { caretaker_ = caretaker; }

    // ---- for everyone, at any time -----------------------------------------------------------------

    [[nodiscard]] TimePoint now() const { return clock_.now(); }
    [[nodiscard]] std::int64_t wall_us() const { return clock_.wall_us(); }
    [[nodiscard]] const Options& options() const noexcept { return options_; }
    [[nodiscard]] std::size_t size() const noexcept { return transport_->size(); }
    [[nodiscard]] Transport& transport() noexcept { return *transport_; }

    // ---- for coroutines ----------------------------------------------------------------------------

    [[nodiscard]] RoundPtr make_round(Command command, TimePoint started, TimePoint deadline) const {
        return std::make_shared<Round<TimePoint>>(std::move(command), transport_->size(), started, deadline);
    }

    struct Awaitable {
        Engine& engine;
        SuspendedPtr wait;
        bool await_ready() const noexcept { return false; }
        void await_suspend(std::coroutine_handle<> continuation) {
            wait->continuation = continuation;
            try {
                engine.submit(
                    SuspendedPtr{wait});  // from here on another thread may resume, and end this frame
            } catch (...) {
                wait->continuation = {};  // who has it from elsewhere must not resume what goes on by itself
                throw;
            }
        }
        Verdict await_resume() const noexcept { return wait->verdict; }
    };

    /// Sends a round to all nodes; resumes with its verdict.
    [[nodiscard]] Awaitable verdict_of(RoundPtr round, Call* call) {
        round->call = call;
        return {*this, std::move(round)};
    }

    /// Resumes at a point in time, or before with Verdict::cancelled.
    [[nodiscard]] Awaitable sleep_until(TimePoint when, Call* call) {
        auto wait = std::make_shared<Suspended<TimePoint>>(when);
        wait->call = call;
        return {*this, std::move(wait)};
    }

    /// Resumes in a driver's turn, without I/O before that.
    [[nodiscard]] Awaitable next_turn(Call* call) {
        auto wait = std::make_shared<Suspended<TimePoint>>(TimePoint{}, SuspendedBase::Kind::turn);
        wait->call = call;
        return {*this, std::move(wait)};
    }

    /// Resumes when a quorum is connected, when that is not to be expected any more, or at a point in time.
    [[nodiscard]] Awaitable connections_until(TimePoint when, Call* call) {
        auto wait = std::make_shared<Suspended<TimePoint>>(when, SuspendedBase::Kind::connections);
        wait->call = call;
        return {*this, std::move(wait)};
    }

    /// Resumes when it is signalled, when its time has come, or when the call is cancelled.
    [[nodiscard]] Awaitable suspend(SuspendedPtr wait, Call* call) {
        wait->call = call;
        return {*this, std::move(wait)};
    }

    /// Has the caller's own thread do something, outside of the engine; without a call it is done at once. It
    /// resumes in a driver's turn. Throws what that threw.
    template <class Work>
    class OnCaller final : private Errand {
       public:
        OnCaller(Engine& engine, Call* call, Work work)
            : engine_{engine}, call_{call}, work_{std::move(work)} {}
        bool await_ready() noexcept {
            if (call_ == nullptr) do_it();
            return call_ == nullptr;
        }
        void await_suspend(std::coroutine_handle<> continuation) {
            wait_->continuation = continuation;
            wait_->call = call_;
            engine_.hand_back(*call_, *this);  // from here on this frame is the other thread's
        }
        void await_resume() const {
            if (error_) std::rethrow_exception(error_);
        }

       private:
        void run() noexcept override {
            do_it();
            engine_.submit(SuspendedPtr{wait_});
        }
        void do_it() noexcept {
            try {
                work_();
            } catch (...) {
                error_ = std::current_exception();
            }
        }

        Engine& engine_;
        Call* call_;
        Work work_;
        SuspendedPtr wait_ = std::make_shared<Suspended<TimePoint>>(TimePoint{}, SuspendedBase::Kind::turn);
        std::exception_ptr error_;
    };
    template <class Work>
    [[nodiscard]] OnCaller<Work> on_caller(Call* call, Work work) {
        return {*this, call, std::move(work)};
    }

    /// The next five in a driver's turn only.
    [[nodiscard]] bool lacks_connections() { return dispatcher_.lacks_connections(); }
    void resume(Suspended<TimePoint>& wait) { dispatcher_.decide(wait, Verdict::carried); }
    void resume_by(Suspended<TimePoint>& wait, TimePoint deadline) { dispatcher_.resume_by(wait, deadline); }
    [[nodiscard]] std::optional<std::size_t> lead_for(std::string_view resource,
                                                      const std::vector<bool>& avoid) {
        return dispatcher_.lead_for(resource, avoid);
    }

    /// Has a turn made then, also where nobody calls.
    void remind(TimePoint when) noexcept {
        if (caretaker_ != nullptr) caretaker_->on_reminder(when);
    }

    /// Sends a round that nobody waits for. Only from a coroutine: its driver sees to the writing.
    void post(RoundPtr round) { submit(std::move(round)); }

    // ---- for callers -------------------------------------------------------------------------------

    /// Runs a task to its end, driving or sleeping meanwhile. `make` is given the Call and makes the task.
    /// Either of the stops cancels the call.
    template <class MakeTask>
    auto run(const std::stop_token& stop, const std::stop_token& other_stop, MakeTask make) {
        struct Caller final : Call, TaskDone {
            Engine& engine;
            explicit Caller(Engine& owner) : engine{owner} {}
            void on_task_done() noexcept override { engine.finish(*this); }
        } caller{*this};
        auto task = make(&caller);
        {
            const std::stop_callback on_stop{stop, [&] { cancel(caller); }};
            const std::stop_callback on_other_stop{other_stop, [&] { cancel(caller); }};
            task.start(caller);
            attend(caller);
            while (caller.errand != nullptr) {
                take_errand(caller).run();
                attend(caller);
            }
        }
        return task.take();
    }

    template <class MakeTask>
    auto run(MakeTask make) {
        return run({}, {}, std::move(make));
    }

    /// Drives or sleeps until the call is finished, or until a point in time. For want of memory the process
    /// ends here: a driver that left half-way would leave all others without one, and its own call in use.
    void attend(Call& call, std::optional<TimePoint> until = std::nullopt) noexcept {
        std::unique_lock lock{mutex_};
        while (!call.finished && !has_passed(until)) {
            if (has_driver_ && !sleep(call, until, lock)) continue;
            become_driver();
            while (!call.finished && !has_passed(until) && turn(lock, &call, until)) {
                if (call.is_background && (dispatcher_.settled() || !parked_.empty())) call.finished = true;
            }
            if (is_driver()) leave(lock);
        }
        if (!has_driver_ && !inbox_.empty()) {  // a task that never waited may have posted something
            become_driver();
            leave(lock);
        }
    }

    /// Marks a call as finished, from its own task or from anywhere before it attends.
    void finish(Call& call) {
        const std::lock_guard lock{mutex_};
        std::erase(cancelled_, &call);
        end(call);
    }

    /// Ends what a call waits for with Verdict::cancelled. Thread-safe. Once, though it comes from two sides:
    /// what the first has ended may be gone.
    void cancel(Call& call) {
        change([&] {
            const bool is_over = call.finished && call.errand == nullptr;
            std::erase(cancelled_, &call);
            if (!is_over) cancelled_.push_back(&call);
        });
    }

    /// Makes whoever drives or sleeps on this call look up. Thread-safe.
    void interrupt(Call& call) {
        change([&] {
            call.finished = true;
            if (!call.is_parked) return;
            parked_.remove(call);
            call.spot->wake(WakeReason::finished);
        });
    }

    /// For the last owner, when nobody else calls any more: drives until all is answered, at most `until`.
    void drain(TimePoint until) noexcept {
        std::unique_lock lock{mutex_};
        become_driver();
        take_inbox(lock);
        while (!has_passed(until) && (transport_->unfinished() || dispatcher_.has_unanswered())) {
            static_cast<void>(turn(lock, nullptr, until));
        }
    }

    /// For the last owner, after that: whatever coroutine still waits ends, and nothing is sent any more.
    void end_waits() noexcept {
        dispatcher_.end_waits();
        std::unique_lock lock{mutex_};
        take_inbox(lock);
    }

    /// One turn of driving without waiting, for a driver with an event loop of its own.
    void step() {
        std::unique_lock lock{mutex_};
        become_driver();
        if (turn(lock, nullptr, now())) leave(lock);
    }

    /// The same for anyone. False: somebody else drives, and has made no turn for this.
    [[nodiscard]] bool try_step() noexcept {
        {
            const std::lock_guard lock{mutex_};
            if (has_driver_) return false;
            become_driver();
        }
        step();
        return true;
    }

    /// When step() has something to do at the latest, as far as the engine itself knows.
    [[nodiscard]] std::optional<TimePoint> next_timer() const { return dispatcher_.next_timer(); }

    /// Whether nothing is left to be done for a node; for a driver, between its turns.
    [[nodiscard]] bool is_settled() const { return dispatcher_.settled(); }

   private:
    /// Ends a call for the time of an errand.
    void hand_back(Call& call, Errand& errand) {
        const std::lock_guard lock{mutex_};
        call.errand = &errand;
        end(call);
    }

    /// By its own thread; the call goes on after that.
    [[nodiscard]] Errand& take_errand(Call& call) {
        const std::lock_guard lock{mutex_};
        call.finished = false;
        return *std::exchange(call.errand, nullptr);
    }

    /// With the mutex held. Only a driver ends the call of one who sleeps.
    void end(Call& call) {
        call.finished = true;
        if (!call.is_parked) return;
        parked_.remove(call);
        to_wake_.push_back(call.spot);
    }

    [[nodiscard]] bool has_passed(const std::optional<TimePoint>& until) const {
        return until && (now() - *until).count() >= 0;
    }

    // ---- driving -----------------------------------------------------------------------------------

    void submit(SuspendedPtr wait) {
        change([&] { inbox_.push_back(std::move(wait)); });
    }

    template <class Change>
    void change(Change change) {
        {
            const std::lock_guard lock{mutex_};
            change();
            if (!std::exchange(is_polling_, false)) return;
        }
        transport_->wake();
    }

    // The next three with the lock held.
    void become_driver() noexcept {
        has_driver_ = true;
        driver_ = std::this_thread::get_id();
        is_waiting_.store(false, std::memory_order_relaxed);
    }
    [[nodiscard]] bool is_driver() const noexcept {
        return has_driver_ && driver_ == std::this_thread::get_id();
    }

    /// True when it is to drive: woken for that, or since who should drive does not.
    bool sleep(Call& call, const std::optional<TimePoint>& until, std::unique_lock<std::mutex>& lock) {
        call.spot = parking_lot_.borrow();
        parked_.add(call);
        WakeReason signal = WakeReason::none;
        bool takes_over = false;
        std::chrono::nanoseconds look = first_look();
        do {
            lock.unlock();
            signal = call.spot->sleep(until ? std::min(look, -(now() - *until)) : look);
            lock.lock();
            if (signal != WakeReason::none || !call.is_parked) break;
            takes_over = takes_over_for(call, look);
        } while (!takes_over && !has_passed(until));
        if (call.is_parked) {
            parked_.remove(call);  // nobody woke it
        } else if (signal == WakeReason::none) {
            lock.unlock();
            signal = call.spot->sleep(std::nullopt);  // taken out of the list meanwhile: the signal follows
            lock.lock();
        }
        parking_lot_.give_back(std::exchange(call.spot, nullptr));
        if (next_driver_ == &call) return std::exchange(next_driver_, nullptr) != nullptr;
        return takes_over;
    }

    [[nodiscard]] std::chrono::nanoseconds first_look() const noexcept {
        return std::chrono::nanoseconds{options_.node_timeout} / 4;
    }

    /// With the lock held, by one who sleeps. A driver may be kept from running, by the scheduler or a
    /// debugger, while others want their answers in time: one that waits and does not come back though it
    /// should, or one that was named and has not begun. What a call waits for may be looked at: it is the
    /// driver's, who waits.
    [[nodiscard]] bool takes_over_for(const Call& call, std::chrono::nanoseconds& look) {
        look = first_look();
        if (std::exchange(next_driver_, nullptr) != nullptr) return true;
        if (!is_waiting_.load(std::memory_order_acquire)) return false;
        if (call.current != nullptr) {
            const auto& wait = static_cast<const Suspended<TimePoint>&>(*call.current);
            const std::chrono::nanoseconds left = -(now() - wait.deadline);
            if (left > options_.node_timeout) {
                look = left - options_.node_timeout;
                return false;
            }
        }
        return transport_->take_over();
    }

    /// One turn: starts what was handed in, writes, waits, reads. The lock is held before and after. False:
    /// another thread drives by now.
    [[nodiscard]] bool turn(std::unique_lock<std::mutex>& lock, const Call* own,
                            const std::optional<TimePoint>& until) {
        take_inbox(lock);
        if (own != nullptr && own->finished) return true;
        const bool may_wait = to_wake_.empty();
        is_polling_ = may_wait;
        lock.unlock();
        const bool drives = dispatcher_.poll(may_wait, until);
        if (drives) wake_finished();
        lock.lock();
        if (drives) is_polling_ = false;
        return drives;
    }

    void take_inbox(std::unique_lock<std::mutex>& lock) {
        while (!inbox_.empty() || !cancelled_.empty()) {
            starting_.swap(inbox_);
            cancelling_.swap(cancelled_);
            lock.unlock();
            for (Call* call : cancelling_) {
                call->cancelled = true;
                if (call->current != nullptr) dispatcher_.decide(*call->current, Verdict::cancelled);
            }
            for (SuspendedPtr& wait : starting_) dispatcher_.begin(std::move(wait));
            cancelling_.clear();
            starting_.clear();
            lock.lock();
        }
    }

    /// The driver goes: nothing handed in stays unwritten, and who still waits has a driver.
    void leave(std::unique_lock<std::mutex>& lock) {
        take_inbox(lock);
        lock.unlock();
        transport_->flush();
        wake_finished();
        const bool is_settled = dispatcher_.settled();
        lock.lock();
        if (!parked_.empty()) {
            Call& heir = parked_.first();
            parked_.remove(heir);
            next_driver_ = &heir;
            ParkingSpot* spot = heir.spot;
            lock.unlock();
            spot->wake(WakeReason::drive);
            lock.lock();
            return;
        }
        has_driver_ = false;
        if (is_settled || caretaker_ == nullptr) return;
        lock.unlock();
        caretaker_->on_unfinished();
        lock.lock();
    }

    void wake_finished() { ParkingSpot::wake_all(to_wake_, WakeReason::finished); }

    void on_waiting() noexcept override { is_waiting_.store(true, std::memory_order_release); }

    bool on_awake() override {
        const std::lock_guard lock{mutex_};
        if (!is_driver()) return false;
        is_waiting_.store(false, std::memory_order_relaxed);
        is_polling_ = false;
        return true;
    }

    std::unique_ptr<Transport> transport_;
    Clock clock_;
    Options options_;
    Caretaker<TimePoint>* caretaker_ = nullptr;

    // the driver's
    Dispatcher<Transport, Clock> dispatcher_;
    std::vector<SuspendedPtr> starting_;
    std::vector<Call*> cancelling_;
    std::vector<ParkingSpot*> to_wake_;

    std::mutex mutex_;
    std::vector<SuspendedPtr> inbox_;
    std::vector<Call*> cancelled_;
    ParkedCalls parked_;
    ParkingLot parking_lot_;
    bool has_driver_ = false;
    std::thread::id driver_;
    Call* next_driver_ = nullptr;  ///< who is to drive next and has not begun
    bool is_polling_ = false;
    std::atomic<bool> is_waiting_{false};  ///< the driver, for something to happen
};

}  // namespace redlock::inline v0_1::detail

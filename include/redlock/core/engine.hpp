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
#include <chrono>
#include <coroutine>
#include <cstddef>
#include <exception>
#include <memory>
#include <mutex>
#include <optional>
#include <stop_token>
#include <string_view>
#include <utility>
#include <vector>

#include "redlock/core/call.hpp"
#include "redlock/core/clock.hpp"
#include "redlock/core/round.hpp"
#include "redlock/core/rounds.hpp"
#include "redlock/core/task.hpp"
#include "redlock/core/transport.hpp"
#include "redlock/options.hpp"

namespace redlock::detail {

/// Told by a caller that leaves, with no lock held, when there is something left to do for a node (see
/// Rounds::settled) and nobody waits any more who would drive.
struct Caretaker {
    virtual void on_unfinished() noexcept = 0;

   protected:
    ~Caretaker() = default;
};

template <Transport Wire, Clock Time>
class Engine final : private Awakening {
   public:
    using TimePoint = typename Time::time_point;
    using RoundPtr = std::shared_ptr<Round<TimePoint>>;
    using WaitPtr = std::shared_ptr<Wait<TimePoint>>;

    Engine(std::unique_ptr<Wire> transport, Time clock, const Options& options)
        : transport_{std::move(transport)},
          clock_{std::move(clock)},
          options_{options},
          rounds_{*transport_, clock_, options_, *this} {}

    Engine(const Engine&) = delete;
    Engine& operator=(const Engine&) = delete;
    ~Engine() = default;

    /// Who is told what arrives on the channel; set before the first call.
    void set_listener(Listener* listener) noexcept { rounds_.set_listener(listener); }

    /// Who is told of work left over; set before the first call.
    void set_caretaker(Caretaker* caretaker) noexcept { caretaker_ = caretaker; }

    // ---- for everyone, at any time -----------------------------------------------------------------

    [[nodiscard]] TimePoint now() const { return clock_.now(); }
    [[nodiscard]] std::int64_t wall_us() const { return clock_.wall_us(); }
    [[nodiscard]] const Options& options() const noexcept { return options_; }
    [[nodiscard]] std::size_t size() const noexcept { return transport_->size(); }
    [[nodiscard]] Wire& transport() noexcept { return *transport_; }

    // ---- for coroutines ----------------------------------------------------------------------------

    [[nodiscard]] RoundPtr make_round(Command command, TimePoint started, TimePoint deadline) const {
        return std::make_shared<Round<TimePoint>>(std::move(command), transport_->size(), started, deadline);
    }

    struct Suspension {
        Engine& engine;
        WaitPtr wait;
        bool await_ready() const noexcept { return false; }
        void await_suspend(std::coroutine_handle<> waiter) {
            wait->waiter = waiter;
            engine.submit(WaitPtr{wait});  // from here on another thread may resume, and end this frame
        }
        Verdict await_resume() const noexcept { return wait->verdict; }
    };

    /// Sends a round to all nodes; resumes with its verdict.
    [[nodiscard]] Suspension verdict_of(RoundPtr round, Call* call) {
        round->call = call;
        return {*this, std::move(round)};
    }

    /// Resumes at a point in time, or before with Verdict::cancelled.
    [[nodiscard]] Suspension sleep_until(TimePoint when, Call* call) {
        auto wait = std::make_shared<Wait<TimePoint>>(when);
        wait->call = call;
        return {*this, std::move(wait)};
    }

    /// Resumes in a driver's turn, without I/O before that.
    [[nodiscard]] Suspension hop(Call* call) {
        auto wait = std::make_shared<Wait<TimePoint>>(TimePoint{}, WaitBase::Kind::turn);
        wait->call = call;
        return {*this, std::move(wait)};
    }

    /// Resumes when a quorum is connected, when that is not to be expected any more, or at a point in time.
    [[nodiscard]] Suspension connections_until(TimePoint when, Call* call) {
        auto wait = std::make_shared<Wait<TimePoint>>(when, WaitBase::Kind::connections);
        wait->call = call;
        return {*this, std::move(wait)};
    }

    /// Resumes when it is signalled, when its time has come, or when the call is cancelled.
    [[nodiscard]] Suspension pause(WaitPtr wait, Call* call) {
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
        void await_suspend(std::coroutine_handle<> waiter) {
            wait_->waiter = waiter;
            wait_->call = call_;
            engine_.hand_back(*call_, *this);  // from here on this frame is the other thread's
        }
        void await_resume() const {
            if (error_) std::rethrow_exception(error_);
        }

       private:
        void run() noexcept override {
            do_it();
            engine_.submit(WaitPtr{wait_});
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
        WaitPtr wait_ = std::make_shared<Wait<TimePoint>>(TimePoint{}, WaitBase::Kind::turn);
        std::exception_ptr error_;
    };
    template <class Work>
    [[nodiscard]] OnCaller<Work> on_caller(Call* call, Work work) {
        return {*this, call, std::move(work)};
    }

    /// The next four in a driver's turn only.
    [[nodiscard]] bool lacks_connections() { return rounds_.lacks_connections(); }
    void signal(Wait<TimePoint>& wait) { rounds_.decide(wait, Verdict::carried); }
    void hurry(Wait<TimePoint>& wait, TimePoint deadline) { rounds_.hurry(wait, deadline); }
    [[nodiscard]] std::optional<std::size_t> lead_for(std::string_view resource,
                                                      const std::vector<bool>& avoid) {
        return rounds_.lead_for(resource, avoid);
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
            has_driver_ = true;
            while (!call.finished && !has_passed(until)) {
                turn(lock, &call, until);
                if (call.is_background && (rounds_.settled() || !sleepers_.empty())) call.finished = true;
            }
            leave(lock);
        }
        if (!has_driver_ && !inbox_.empty()) {  // a task that never waited may have posted something
            has_driver_ = true;
            leave(lock);
        }
    }

    /// Marks a call as finished, from its own task or from anywhere before it attends.
    void finish(Call& call) {
        const std::lock_guard lock{mutex_};
        std::erase(cancelled_, &call);
        end(call);
    }

    /// Ends what a call waits for with Verdict::cancelled. Thread-safe.
    void cancel(Call& call) {
        kick([&] {
            if (!call.finished || call.errand != nullptr) cancelled_.push_back(&call);
        });
    }

    /// Makes whoever drives or sleeps on this call look up. Thread-safe.
    void rouse(Call& call) {
        kick([&] {
            call.finished = true;
            if (!call.is_asleep) return;
            sleepers_.remove(call);
            call.seat->wake(Signal::finished);
        });
    }

    /// For the last owner, when nobody else calls any more: drives until all is answered, at most `until`.
    void drain(TimePoint until) noexcept {
        std::unique_lock lock{mutex_};
        has_driver_ = true;
        take_inbox(lock);
        while (!has_passed(until) && (transport_->unfinished() || rounds_.has_unanswered())) {
            turn(lock, nullptr, until);
        }
    }

    /// For the last owner, after that: whatever coroutine still waits ends, and nothing is sent any more.
    void end_waits() noexcept {
        rounds_.end_waits();
        std::unique_lock lock{mutex_};
        take_inbox(lock);
    }

    /// One turn of driving without waiting, for a driver with an event loop of its own.
    void step() {
        std::unique_lock lock{mutex_};
        has_driver_ = true;
        turn(lock, nullptr, now());
        leave(lock);
    }

    /// When step() has something to do at the latest, as far as the engine itself knows.
    [[nodiscard]] std::optional<TimePoint> next_timer() const { return rounds_.next_timer(); }

    /// Whether nothing is left to be done for a node; for a driver, between its turns.
    [[nodiscard]] bool is_settled() const { return rounds_.settled(); }

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
        if (!call.is_asleep) return;
        sleepers_.remove(call);
        to_wake_.push_back(call.seat);
    }

    [[nodiscard]] bool has_passed(const std::optional<TimePoint>& until) const {
        return until && (now() - *until).count() >= 0;
    }

    // ---- driving -----------------------------------------------------------------------------------

    void submit(WaitPtr wait) {
        kick([&] { inbox_.push_back(std::move(wait)); });
    }

    template <class Change>
    void kick(Change change) {
        {
            const std::lock_guard lock{mutex_};
            change();
            if (!std::exchange(is_polling_, false)) return;
        }
        transport_->wake();
    }

    /// True when it was woken to drive.
    bool sleep(Call& call, const std::optional<TimePoint>& until, std::unique_lock<std::mutex>& lock) {
        call.seat = seats_.borrow();
        sleepers_.add(call);
        lock.unlock();
        std::optional<std::chrono::nanoseconds> timeout;
        if (until) timeout = -(now() - *until);
        Signal signal = call.seat->sleep(timeout);
        lock.lock();
        if (call.is_asleep) {
            sleepers_.remove(call);  // nobody woke it: the timeout has passed
        } else if (signal == Signal::none) {
            lock.unlock();
            signal = call.seat->sleep(std::nullopt);  // taken out of the list meanwhile: the signal follows
            lock.lock();
        }
        seats_.give_back(std::exchange(call.seat, nullptr));
        return signal == Signal::drive;
    }

    /// One turn: starts what was handed in, writes, waits, reads. The lock is held before and after.
    void turn(std::unique_lock<std::mutex>& lock, const Call* own, const std::optional<TimePoint>& until) {
        take_inbox(lock);
        if (own != nullptr && own->finished) return;
        const bool may_wait = to_wake_.empty();
        is_polling_ = may_wait;
        lock.unlock();
        rounds_.poll(may_wait, until);
        wake_finished();
        lock.lock();
        is_polling_ = false;
    }

    void take_inbox(std::unique_lock<std::mutex>& lock) {
        while (!inbox_.empty() || !cancelled_.empty()) {
            starting_.swap(inbox_);
            cancelling_.swap(cancelled_);
            lock.unlock();
            for (Call* call : cancelling_) {
                call->cancelled = true;
                if (call->current != nullptr) rounds_.decide(*call->current, Verdict::cancelled);
            }
            for (WaitPtr& wait : starting_) rounds_.begin(std::move(wait));
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
        const bool is_settled = rounds_.settled();
        lock.lock();
        if (!sleepers_.empty()) {
            Call& heir = sleepers_.first();
            sleepers_.remove(heir);
            Seat* seat = heir.seat;
            lock.unlock();
            seat->wake(Signal::drive);
            lock.lock();
            return;
        }
        has_driver_ = false;
        if (is_settled || caretaker_ == nullptr) return;
        lock.unlock();
        caretaker_->on_unfinished();
        lock.lock();
    }

    void wake_finished() { Seat::wake_all(to_wake_, Signal::finished); }

    void on_awake() override {
        const std::lock_guard lock{mutex_};
        is_polling_ = false;
    }

    std::unique_ptr<Wire> transport_;
    Time clock_;
    Options options_;
    Caretaker* caretaker_ = nullptr;

    // the driver's
    Rounds<Wire, Time> rounds_;
    std::vector<WaitPtr> starting_;
    std::vector<Call*> cancelling_;
    std::vector<Seat*> to_wake_;

    std::mutex mutex_;
    std::vector<WaitPtr> inbox_;
    std::vector<Call*> cancelled_;
    Sleepers sleepers_;
    Seats seats_;
    bool has_driver_ = false;
    bool is_polling_ = false;
};

}  // namespace redlock::detail

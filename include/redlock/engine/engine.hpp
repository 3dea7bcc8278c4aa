// SPDX-License-Identifier: Apache-2.0
// Runs calls, whose coroutines await rounds and points in time, without a thread of its own.
//
// Of all threads that wait for their calls one is the *driver*: it writes what all have handed in, reads the
// replies and resumes the coroutines that wait for them, turn by turn. A driver whose call is finished hands
// over to another thread that waits. Three pairs of words, for three different things:
//   - a thread *parks* while another drives, and is *unparked* when its call is finished or it is to drive;
//   - a coroutine *suspends* until a verdict, a point in time or a turn, and the driver *resumes* it;
//   - the driver *waits* inside of the transport for something to happen, and is *woken* for what is handed
//   in.
#pragma once

#include <cstddef>
#include <optional>
#include <stop_token>
#include <string_view>
#include <utility>
#include <vector>

#include "redlock/engine/awaitable.hpp"
#include "redlock/engine/call.hpp"
#include "redlock/engine/event_loop.hpp"
#include "redlock/engine/round.hpp"
#include "redlock/engine/task.hpp"
#include "redlock/system/ref.hpp"

namespace redlock::inline v0_1::detail {

template <class Transport, class Clock>
class Engine final : public EventLoop<Transport, Clock> {
   public:
    using Loop = EventLoop<Transport, Clock>;
    using typename Loop::SuspendedPtr;
    using typename Loop::TimePoint;
    using Awaitable = detail::Awaitable<Loop>;
    using RoundPtr = Ref<Round<TimePoint>>;

    /// A blocked call, until its task has ended.
    class Caller final : public Call, private TaskDone {
       public:
        /// Either of the stops cancels the call.
        explicit Caller(Engine& engine, std::stop_token stop = {}, std::stop_token other_stop = {})
            : stop_{std::move(stop)}, other_stop_{std::move(other_stop)}, engine_{engine} {}

       private:
        friend Engine;
        void on_task_done() noexcept override { engine_.finish(*this); }

        std::stop_token stop_;
        std::stop_token other_stop_;
        Engine& engine_;
    };

    using Loop::Loop;

    // ---- for coroutines ----------------------------------------------------------------------------

    [[nodiscard]] RoundPtr make_round(Command command, TimePoint started, TimePoint deadline) const {
        return make_ref<Round<TimePoint>>(std::move(command), this->size(), started, deadline);
    }

    /// Sends a round to all nodes; resumes with its verdict.
    [[nodiscard]] Awaitable verdict_of(RoundPtr round, Call* call) { return suspend(std::move(round), call); }

    /// Resumes at a point in time, or before with Verdict::cancelled.
    [[nodiscard]] Awaitable sleep_until(TimePoint when, Call* call) {
        return suspend(make_suspended(Kind::time, when), call);
    }

    /// Resumes in a driver's turn, without I/O before that.
    [[nodiscard]] Awaitable next_turn(Call* call) { return suspend(make_suspended(Kind::turn), call); }

    /// Resumes when a quorum is connected, when no more connections can be expected, or at a point in time.
    [[nodiscard]] Awaitable connections_until(TimePoint when, Call* call) {
        return suspend(make_suspended(Kind::connections, when), call);
    }

    /// Resumes by resume(), at its deadline, or when the call is cancelled.
    [[nodiscard]] Awaitable suspend(SuspendedPtr suspended, Call* call) {
        suspended->call = call;
        return {*this, std::move(suspended)};
    }

    template <class Work>
    [[nodiscard]] OnCaller<Loop, Work> on_caller(Call* call, Work work) {
        return {*this, call, std::move(work)};
    }

    /// The next four in a driver's turn only.
    [[nodiscard]] bool lacks_connections() { return dispatcher().lacks_connections(); }
    void resume(Suspended<TimePoint>& suspended) { dispatcher().decide(suspended, Verdict::carried); }
    void resume_by(Suspended<TimePoint>& suspended, TimePoint deadline) {
        dispatcher().resume_by(suspended, deadline);
    }
    [[nodiscard]] std::optional<std::size_t> lead_for(std::string_view resource,
                                                      const std::vector<bool>& avoid) {
        return dispatcher().lead_for(resource, avoid);
    }

    /// Has a turn made at that time, also where nobody calls.
    void remind(TimePoint when) noexcept {
        if (upcalls() != nullptr) upcalls()->on_reminder(when);
    }

    /// Sends a round that nobody waits for. Only from a coroutine: its driver sees to the writing.
    void post(RoundPtr round) { this->submit(std::move(round)); }

    // ---- for callers -------------------------------------------------------------------------------

    /// Runs a task, which may have been made with the caller as its Call, to its end. Its thread drives or
    /// parks meanwhile. Throws what the task throws.
    template <class T>
    [[nodiscard]] T run(Caller& caller, Task<T> task) {
        run_to_end(caller, task);
        return task.take();
    }
    template <class T>
    [[nodiscard]] T run(Task<T> task) {
        Caller caller{*this};
        return run(caller, std::move(task));
    }

   private:
    using Kind = SuspendedBase::Kind;
    using Loop::dispatcher;
    using Loop::upcalls;

    [[nodiscard]] static SuspendedPtr make_suspended(Kind kind, TimePoint until = {}) {
        return make_ref<Suspended<TimePoint>>(until, kind);
    }

    void run_to_end(Caller& caller, TaskBase& task) {
        const auto cancel = [&] { this->cancel(caller); };
        const std::stop_callback on_stop{caller.stop_, cancel};
        const std::stop_callback on_other_stop{caller.other_stop_, cancel};
        task.start(caller);
        this->drive_or_park(caller);
        while (caller.errand != nullptr) {
            this->take_errand(caller).run();
            this->drive_or_park(caller);
        }
    }
};

}  // namespace redlock::inline v0_1::detail

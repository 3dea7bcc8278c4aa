// SPDX-License-Identifier: Apache-2.0
// Begins what coroutines are suspended on, and resumes them when it has happened. Only the driver uses it.
#pragma once

#include <algorithm>
#include <chrono>
#include <coroutine>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>
#include <utility>
#include <vector>

#include "redlock/clock.hpp"
#include "redlock/engine/call.hpp"
#include "redlock/engine/requests.hpp"
#include "redlock/engine/round.hpp"
#include "redlock/engine/suspended.hpp"
#include "redlock/engine/timers.hpp"
#include "redlock/engine/transport.hpp"
#include "redlock/engine/upcalls.hpp"
#include "redlock/options.hpp"
#include "redlock/system/ref.hpp"
#include "redlock/voting/quorum.hpp"

namespace redlock::inline v0_1::detail {

/// Told when the driver begins to wait in the transport, and when it is back, before anything is reported.
struct DriverEvents {
    virtual void on_waiting() noexcept = 0;
    /// False: another thread drives by now.
    [[nodiscard]] virtual bool on_awake() = 0;

   protected:
    ~DriverEvents() = default;
};

/// Offers rounds to the nodes, counts their votes, and decides each round as soon as it can be.
template <class Transport, class Clock>
class Dispatcher final : private TransportEvents, private RequestEvents<typename Clock::time_point> {
   public:
    using TimePoint = typename Clock::time_point;
    using RoundPtr = Ref<Round<TimePoint>>;
    using SuspendedPtr = Ref<Suspended<TimePoint>>;

    Dispatcher(Transport& transport, const Clock& clock, const Options& options, DriverEvents& driver_events)
        : transport_{transport},
          clock_{clock},
          options_{options},
          driver_events_{driver_events},
          requests_{transport, clock, options, *this} {}

    Dispatcher(const Dispatcher&) = delete;
    Dispatcher& operator=(const Dispatcher&) = delete;

    void set_upcalls(Upcalls<TimePoint>* upcalls) noexcept { upcalls_ = upcalls; }

    /// Writes, waits until something happens or until a point in time, and deals with all that has happened.
    /// False: another thread has taken over meanwhile, and this one must touch nothing here.
    [[nodiscard]] bool poll(bool may_wait, const std::optional<TimePoint>& until) {
        requests_.repeat_releases();
        if (upcalls_ != nullptr) upcalls_->on_turn();
        if (!transport_.poll(*this, may_wait ? time_left(until) : std::chrono::nanoseconds{0})) return false;
        fire_timers();
        return true;
    }

    /// Whether nothing is left to be done for a node: nothing to write, no urgent release, no reply to come
    /// that may need more.
    [[nodiscard]] bool settled() const { return !transport_.unfinished() && requests_.are_settled(); }

    /// Whether a reply is still to come.
    [[nodiscard]] bool has_unanswered() const { return requests_.has_unanswered(); }

    [[nodiscard]] std::optional<TimePoint> next_timer() const {
        const std::optional<TimePoint> due = requests_.next_due();
        if (timers_.empty()) return due;
        return due ? first_of(timers_.next_due(), *due) : timers_.next_due();
    }

    /// Begins what a coroutine is suspended on; sends it, where it is a round.
    void begin(SuspendedPtr suspended) {
        if (suspended->decided) return;
        if (is_ending_) return decide(*suspended, Verdict::timed_out);
        if (suspended->call != nullptr) {
            suspended->call->current = suspended.get();
            if (suspended->call->cancelled) return decide(*suspended, Verdict::cancelled);
        }
        if (suspended->kind == SuspendedBase::Kind::turn) return decide(*suspended, Verdict::carried);
        if (suspended->continuation) timers_.add(suspended);
        if (suspended->kind == SuspendedBase::Kind::connections) {
            return await_connections(std::move(suspended));
        }
        if (suspended->kind == SuspendedBase::Kind::round) {
            start(RoundPtr{static_cast<Round<TimePoint>*>(suspended.get())});
        }
    }

    /// Resumes all coroutines, and from now on each that is suspended.
    void end_waits() {
        is_ending_ = true;
        while (!timers_.empty()) decide(*timers_.earliest(), Verdict::timed_out);
    }

    /// Brings a deadline forward.
    void resume_by(Suspended<TimePoint>& suspended, TimePoint deadline) {
        if (!(deadline < suspended.deadline)) return;
        suspended.deadline = deadline;
        timers_.update(suspended);
    }

    /// Resumes the coroutine that is suspended on it; does nothing the second time.
    void decide(SuspendedBase& base, Verdict verdict) {
        auto& suspended = static_cast<Suspended<TimePoint>&>(base);
        if (suspended.decided) return;
        timers_.remove(suspended);
        suspended.decided = true;
        suspended.verdict = verdict;
        if (suspended.call != nullptr) suspended.call->current = nullptr;
        if (suspended.kind == SuspendedBase::Kind::round && verdict == Verdict::timed_out) {
            auto& round = static_cast<Round<TimePoint>&>(suspended);
            for (std::size_t i = 0; i < round.ballots.size(); ++i) {
                if (round.ballots[i].vote == Vote::pending) round.settle(i, Vote::timeout);
            }
        }
        if (suspended.continuation) std::exchange(suspended.continuation, {}).resume();
    }

    /// See Nodes.
    [[nodiscard]] std::optional<std::size_t> lead_for(std::string_view resource,
                                                      const std::vector<bool>& avoid) {
        return requests_.nodes().lead_for(resource, avoid, clock_);
    }
    [[nodiscard]] bool lacks_connections() { return requests_.nodes().lacks_connections(); }

   private:
    // ---- time --------------------------------------------------------------------------------------

    [[nodiscard]] std::optional<std::chrono::nanoseconds> time_left(std::optional<TimePoint> until) const {
        const std::optional<TimePoint> timer = next_timer();
        if (timer) until = until ? first_of(*until, *timer) : *timer;
        if (!until) return std::nullopt;
        return std::max(std::chrono::nanoseconds{0}, -(clock_.now() - *until));
    }

    void fire_timers() {
        if (!timers_.empty()) {
            const TimePoint time = clock_.now();
            while (const SuspendedPtr due = timers_.due(time)) decide(*due, Verdict::timed_out);
        }
        requests_.expire_releases();
    }

    // ---- connections -------------------------------------------------------------------------------

    void await_connections(SuspendedPtr suspended) {
        if (!lacks_connections()) return decide(*suspended, Verdict::carried);
        awaiting_connections_.push_back(std::move(suspended));
    }

    void on_connection_changed() override {
        if (awaiting_connections_.empty() || lacks_connections()) return;
        std::vector<SuspendedPtr> ready;
        ready.swap(awaiting_connections_);
        for (const SuspendedPtr& suspended : ready) decide(*suspended, Verdict::carried);
    }

    // ---- rounds ------------------------------------------------------------------------------------

    void start(const RoundPtr& round) {
        if (round->traits().is_release && round->keys) round->keys->is_unwanted = true;
        if (round->unconnected != Unconnected::goes_out && lacks_connections()) {
            if (round->unconnected == Unconnected::is_put_off) return decide(*round, Verdict::put_off);
            round->deadline = round->deadline + options_.connect_timeout;
            timers_.update(*round);
        }
        if (round->lead) return requests_.offer(*round->lead, round);
        offer_to_all(round);
    }

    void offer_to_all(const RoundPtr& round) {
        for (std::size_t node = 0; node < round->ballots.size(); ++node) {
            if (round->ballots[node].vote == Vote::pending) requests_.offer(node, round);
        }
        conclude(*round);
    }

    /// The node that was asked first has voted. The others are asked next, unless it said no.
    void follow_lead(const RoundPtr& round, Vote vote) {
        round->lead.reset();
        if (vote == Vote::denied) return decide(*round, Verdict::impossible);
        offer_to_all(round);
    }

    void on_answer(std::size_t i, const RoundPtr& round, const Answer& answer) override {
        Ballot& ballot = round->ballots[i];
        const std::chrono::nanoseconds latency =
            std::max(std::chrono::nanoseconds{0}, turn_began_ - round->started);
        ballot.latency = std::chrono::duration_cast<std::chrono::microseconds>(latency);
        ballot.values =
            round->decided ? std::vector<std::int64_t>{} : answer.values;  // nobody reads late ones
        record(ballot, round, answer.vote, answer.text);
    }

    void on_no_answer(std::size_t i, const RoundPtr& round, const Fault& fault) override {
        Ballot& ballot = round->ballots[i];
        ballot.latency = {};
        ballot.values = {};
        record(ballot, round, fault.vote, fault.text);
    }

    void record(Ballot& ballot, const RoundPtr& round, Vote vote, std::string_view text) {
        const bool is_first = ballot.vote == Vote::pending;  // a release may be sent again
        ballot.vote = vote;
        ballot.text = text;
        if (round->decided || !is_first) return;
        round->tally.count(vote);
        if (round->lead) return follow_lead(round, vote);
        conclude(*round);
    }

    /// Decides a round as soon as it can be.
    void conclude(Round<TimePoint>& round) {
        if (round.wants_all && round.tally.pending() > 0) return;
        switch (round.tally.decision()) {
            case Tally::Decision::carried: return decide(round, Verdict::carried);
            case Tally::Decision::impossible:
                if (round.wants_no && round.tally.may_be_denied()) return;
                return decide(round, Verdict::impossible);
            case Tally::Decision::open: return;
        }
    }

    // ---- what the transport reports ----------------------------------------------------------------

    void on_waiting() override { driver_events_.on_waiting(); }

    bool on_awake() override {
        if (!driver_events_.on_awake()) return false;
        turn_began_ = clock_.now();
        return true;
    }

    void on_reply(std::size_t i, const Reply& reply) override { requests_.on_reply(i, reply); }
    void on_up(std::size_t i, const NodeInfo& info) override { requests_.on_up(i, info); }
    void on_down(std::size_t i, const Fault& fault) override { requests_.on_down(i, fault); }
    void on_message(std::size_t i, std::string_view payload) override {
        if (upcalls_ != nullptr) upcalls_->on_notice(i, payload);
    }

    Transport& transport_;
    const Clock& clock_;
    const Options& options_;
    DriverEvents& driver_events_;
    Upcalls<TimePoint>* upcalls_ = nullptr;
    Requests<Transport, Clock> requests_;
    bool is_ending_ = false;
    Timers<Suspended<TimePoint>> timers_;
    std::vector<SuspendedPtr> awaiting_connections_;
    TimePoint turn_began_{};  ///< read once for the latencies of a turn; decisions read the clock themselves
};

}  // namespace redlock::inline v0_1::detail

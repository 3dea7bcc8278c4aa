// SPDX-License-Identifier: Apache-2.0
// Rounds in flight at the nodes, and what is due when. All of it belongs to the driver of the moment.
#pragma once

#include <algorithm>
#include <chrono>
#include <coroutine>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "redlock/clock.hpp"
#include "redlock/engine/call.hpp"
#include "redlock/engine/key_records.hpp"
#include "redlock/engine/node.hpp"
#include "redlock/engine/nodes.hpp"
#include "redlock/engine/round.hpp"
#include "redlock/engine/timers.hpp"
#include "redlock/engine/transport.hpp"
#include "redlock/engine/upcalls.hpp"
#include "redlock/options.hpp"
#include "redlock/voting/quorum.hpp"

namespace redlock::inline v0_1::detail {

/// Told when the transport begins to wait, and when it has done so, before it tells what happened.
struct Awakening {
    virtual void on_waiting() noexcept = 0;
    /// False: another thread drives by now.
    [[nodiscard]] virtual bool on_awake() = 0;

   protected:
    ~Awakening() = default;
};

/// Sends rounds to the nodes in order, counts what comes back, and resumes who waits for the verdict.
template <class Transport, class Clock>
class Dispatcher final : private TransportEvents {
   public:
    using TimePoint = typename Clock::time_point;
    using RoundPtr = std::shared_ptr<Round<TimePoint>>;
    using SuspendedPtr = std::shared_ptr<Suspended<TimePoint>>;

    Dispatcher(Transport& transport, const Clock& clock, const Options& options, Awakening& awakening)
        : transport_{transport}, clock_{clock}, options_{options}, awakening_{awakening}, nodes_{transport} {}

    Dispatcher(const Dispatcher&) = delete;
    Dispatcher& operator=(const Dispatcher&) = delete;

    /// Writes, waits until something happens or `until`, and deals with all that has happened. False: another
    /// thread has taken over meanwhile, and all of this is its.
    [[nodiscard]] bool poll(bool may_wait, const std::optional<TimePoint>& until) {
        repeat_releases();
        if (upcalls_ != nullptr) upcalls_->on_turn();
        if (!transport_.poll(*this, may_wait ? time_left(until) : std::chrono::nanoseconds{0})) return false;
        fire_timers();
        return true;
    }

    /// Whether nothing is left to be done for a node: nothing to be written, no release owed, no reply to
    /// come that may ask for more.
    [[nodiscard]] bool settled() const {
        if (transport_.unfinished()) return false;
        const auto is_settled = [](const auto& node) {
            return !node.pending_releases.are_urgent() && node.in_flight_unsure == 0;
        };
        return std::all_of(nodes_.begin(), nodes_.end(), is_settled);
    }

    /// Whether a reply is still to come.
    [[nodiscard]] bool has_unanswered() const {
        return std::any_of(nodes_.begin(), nodes_.end(),
                           [](const auto& node) { return !node.in_flight.empty(); });
    }

    [[nodiscard]] std::optional<TimePoint> next_timer() const {
        std::optional<TimePoint> next;
        const auto consider = [&next](const std::optional<TimePoint>& time) {
            if (time) next = next ? first_of(*next, *time) : *time;
        };
        if (!timers_.empty()) consider(timers_.next_due());
        for (const auto& node : nodes_) {
            consider(node.pending_releases.next_expiry());
            consider(node.repeat_at);
        }
        return next;
    }

    /// Starts a wait; sends it, where it is a round.
    void begin(SuspendedPtr wait) {
        if (wait->decided) return;
        if (is_ending_) return decide(*wait, Verdict::timed_out);
        if (wait->call != nullptr) {
            wait->call->current = wait.get();
            if (wait->call->cancelled) return decide(*wait, Verdict::cancelled);
        }
        if (wait->kind == SuspendedBase::Kind::turn) return decide(*wait, Verdict::carried);
        if (wait->continuation) timers_.add(wait);
        if (wait->kind == SuspendedBase::Kind::connections) return await_connections(std::move(wait));
        if (wait->kind == SuspendedBase::Kind::round) {
            start(std::static_pointer_cast<Round<TimePoint>>(std::move(wait)));
        }
    }

    /// All waits end, those included that begin from now on.
    void end_waits() {
        is_ending_ = true;
        while (!timers_.empty()) {
            const SuspendedPtr first = timers_.earliest();
            decide(*first, Verdict::timed_out);
        }
    }

    /// Makes a wait end sooner.
    void resume_by(Suspended<TimePoint>& wait, TimePoint deadline) {
        if (!(deadline < wait.deadline)) return;
        wait.deadline = deadline;
        timers_.update(wait);
    }

    /// The two that contenders and calls ask of the connections.
    [[nodiscard]] std::optional<std::size_t> lead_for(std::string_view resource,
                                                      const std::vector<bool>& avoid) {
        return nodes_.lead_for(resource, avoid, [this] { return now(); });
    }
    [[nodiscard]] bool lacks_connections() { return nodes_.lacks_connections(); }

    void set_upcalls(Upcalls<TimePoint>* upcalls) noexcept { upcalls_ = upcalls; }

    /// Ends a wait and resumes its coroutine; nothing the second time.
    void decide(SuspendedBase& base, Verdict verdict) {
        auto& wait = static_cast<Suspended<TimePoint>&>(base);
        if (wait.decided) return;
        timers_.remove(wait);
        wait.decided = true;
        wait.verdict = verdict;
        if (wait.call != nullptr) wait.call->current = nullptr;
        if (wait.kind == SuspendedBase::Kind::round && verdict == Verdict::timed_out) {
            auto& round = static_cast<Round<TimePoint>&>(wait);
            for (std::size_t i = 0; i < nodes_.size(); ++i) {
                if (round.ballots[i].vote == Vote::pending) round.settle(i, Vote::timeout);
            }
        }
        if (wait.continuation) std::exchange(wait.continuation, {}).resume();
    }

   private:
    static constexpr std::size_t bytes_max = std::size_t{16} << 20U;  // unanswered, per node
    static constexpr std::chrono::nanoseconds first_pause = std::chrono::milliseconds{50};

    // ---- time --------------------------------------------------------------------------------------

    [[nodiscard]] std::optional<std::chrono::nanoseconds> time_left(std::optional<TimePoint> until) const {
        const std::optional<TimePoint> timer = next_timer();
        if (timer) until = until ? first_of(*until, *timer) : *timer;
        if (!until) return std::nullopt;
        return std::max(std::chrono::nanoseconds{0}, -(now() - *until));
    }

    void fire_timers() {
        if (!timers_.empty()) {
            const TimePoint time = now();
            while (const SuspendedPtr due = timers_.due(time)) decide(*due, Verdict::timed_out);
        }
        for (std::size_t i = 0; i < nodes_.size(); ++i) {
            auto& node = nodes_[i];
            if (!node.pending_releases.are_urgent()) continue;
            node.pending_releases.expire(i, node.link, now());
            keep_trying(i);
        }
    }

    // ---- connections -------------------------------------------------------------------------------

    void await_connections(SuspendedPtr wait) {
        if (!lacks_connections()) return decide(*wait, Verdict::carried);
        awaiting_connections_.push_back(std::move(wait));
    }

    /// After one has come about, or failed.
    void look_at_connections() {
        if (awaiting_connections_.empty() || lacks_connections()) return;
        std::vector<SuspendedPtr> ready;
        ready.swap(awaiting_connections_);
        for (const SuspendedPtr& wait : ready) decide(*wait, Verdict::carried);
    }

    /// The connection is of no use: what the node says of itself does not hold, or is no help (R29).
    void drop(std::size_t i, const Fault& fault) {
        transport_.drop(i, fault);
        on_down(i, fault);
    }

    void drop_duplicate(std::size_t i) {
        if (nodes_[i].in_flight.empty()) drop(i, same_server);
    }

    /// Releases are worth a connection while there may be keys.
    void keep_trying(std::size_t i) { transport_.keep_trying(i, nodes_[i].pending_releases.are_urgent()); }

    // ---- what is sent ------------------------------------------------------------------------------

    void start(const RoundPtr& round) {
        if (round->is_release() && round->keys) round->keys->is_unwanted = true;
        if (round->unconnected != Unconnected::goes_out && lacks_connections()) {
            if (round->unconnected == Unconnected::is_put_off) return decide(*round, Verdict::put_off);
            round->deadline = round->deadline + options_.connect_timeout;
            timers_.update(*round);
        }
        if (round->lead) return offer(*round->lead, round);
        offer_to_all(round);
    }

    void offer_to_all(const RoundPtr& round) {
        for (std::size_t node = 0; node < nodes_.size(); ++node) {
            if (round->ballots[node].vote == Vote::pending) offer(node, round);
        }
        conclude(*round);
    }

    /// The node that was asked first has voted: the others follow, unless it said no.
    void follow_lead(Round<TimePoint>& round, Vote vote) {
        round.lead.reset();
        if (vote == Vote::denied) return decide(round, Verdict::impossible);
        offer_to_all(std::static_pointer_cast<Round<TimePoint>>(round.shared_from_this()));
    }

    /// Sends a round to one node, or notes why not.
    void offer(std::size_t i, const RoundPtr& round) {
        auto& node = nodes_[i];
        const std::size_t share = round->is_release() ? 2 : 1;  // some room is for releases alone
        if (node.in_flight.size() + node.waiting.size() >= options_.backlog * share ||
            node.bytes >= bytes_max * share) {
            return fail(i, round, {Vote::timeout, "too many requests are unanswered there"});
        }
        switch (nodes_.connect(i)) {
            case Sent::connecting:
                node.bytes += round->command.bytes().size();
                node.waiting.push_back(round);
                return;
            case Sent::accepted: return hand_over(i, round);
            case Sent::down: return fail(i, round, transport_.fault(i));
        }
    }

    /// A node that did not get it, or whose answer is lost.
    void fail(std::size_t i, const RoundPtr& round, const Fault& fault) {
        if (round->is_release()) keep_pending(i, round);
        record(i, *round, fault.vote, fault.text);
    }

    /// To a node that is connected.
    void hand_over(std::size_t i, const RoundPtr& round) {
        auto& node = nodes_[i];
        if (round->is_unwanted()) return record(i, *round, Vote::unreachable, "it was never sent");
        if (node.is_duplicate) return fail(i, round, same_server);
        if (const auto objection = node.eligibility.objection(round->begins(), [this] { return now(); })) {
            return record(i, *round, objection->vote, objection->text);
        }
        if (!round->is_release() && nodes_.has_asked_server(*round, i)) {
            return record(i, *round, same_server.vote, same_server.text);
        }
        const bool by_text = node.scripts == Scripts::by_text && round->command.script() != nullptr;
        const Sent sent = by_text ? transport_.send(i, round->command.with_script_text())
                                  : transport_.send(i, round->command.bytes());
        if (sent != Sent::accepted) return fail(i, round, transport_.fault(i));
        round->ballots[i].server = node.eligibility.server();
        if (by_text) round->ballots[i].knows_script = false;
        expect_reply(i, round);
    }

    void expect_reply(std::size_t i, const RoundPtr& round) {
        auto& node = nodes_[i];
        if (round->keys && round->lasts.count() > 0) round->keys->on_sent(i, node.link, round->lasts);
        node.bytes += round->command.bytes().size();
        if (round->may_need_more()) ++node.in_flight_unsure;
        node.in_flight.push_back(round);
    }

    // ---- releases that are owed --------------------------------------------------------------------

    /// One that may have something to undo goes out with the next connection.
    void keep_pending(std::size_t i, const RoundPtr& round) {
        auto& node = nodes_[i];
        if (!round->keys) return;
        const auto until = round->keys->until(i, node.link, now());
        if (!until) return;
        round->ballots[i].knows_script = true;
        node.pending_releases.add(round, *until, options_.backlog);
        keep_trying(i);
    }

    /// As far as there is room; a node that refused one gets one, and the others when it has taken that.
    void send_pending(std::size_t i) {
        auto& node = nodes_[i];
        const std::size_t most = node.repeat_after.count() > 0 ? 1 : node.pending_releases.size();
        for (std::size_t left = std::min(most, node.pending_releases.size()); left > 0 && !node.repeat_at;
             --left) {
            if (node.in_flight.size() >= options_.backlog * std::size_t{2}) break;
            hand_over(i, node.pending_releases.take());
        }
        keep_trying(i);
    }

    /// To nodes that are connected and refused them, after a pause.
    void repeat_releases() {
        for (std::size_t i = 0; i < nodes_.size(); ++i) {
            auto& node = nodes_[i];
            if (!node.repeat_at || (now() - *node.repeat_at).count() < 0) continue;
            node.repeat_at.reset();
            if (!node.pending_releases.empty() && nodes_.connect(i) == Sent::accepted) send_pending(i);
        }
    }

    /// Whatever the reason, it may pass while there are keys: read-only, no replicas, no memory, no rights.
    void on_release_refused(std::size_t i, const RoundPtr& round) {
        auto& node = nodes_[i];
        keep_pending(i, round);
        if (node.pending_releases.empty() || node.repeat_at) return;
        node.repeat_after = std::clamp<std::chrono::nanoseconds>(
            2 * node.repeat_after, first_pause,
            std::max<std::chrono::nanoseconds>(first_pause, options_.reconnect_max));
        node.repeat_at = now() + node.repeat_after;
    }

    /// Since the round began, for one that was answered in this turn.
    [[nodiscard]] std::chrono::microseconds latency_of(const Round<TimePoint>& round) const {
        const std::chrono::nanoseconds latency =
            std::max(std::chrono::nanoseconds{0}, turn_began_ - round.started);
        return std::chrono::duration_cast<std::chrono::microseconds>(latency);
    }

    void record(std::size_t i, Round<TimePoint>& round, Vote vote, std::string_view text,
                std::vector<std::int64_t> values = {}, std::chrono::microseconds latency = {}) {
        Ballot& ballot = round.ballots[i];
        const bool is_first = ballot.vote == Vote::pending;  // a release may be sent again
        ballot.vote = vote;
        ballot.text = text;
        ballot.values =
            round.decided ? std::vector<std::int64_t>{} : std::move(values);  // nobody reads those
        ballot.latency = latency;
        if (round.decided || !is_first) return;
        round.tally.count(vote);
        if (round.lead) return follow_lead(round, vote);
        conclude(round);
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

    // ---- what the transport tells ------------------------------------------------------------------

    void on_waiting() override { awakening_.on_waiting(); }

    bool on_awake() override {
        if (!awakening_.on_awake()) return false;
        turn_began_ = now();
        return true;
    }

    void on_reply(std::size_t i, const Reply& reply) override {
        auto& node = nodes_[i];
        const RoundPtr round = std::move(node.in_flight.front());
        node.in_flight.pop_front();
        node.bytes -= round->command.bytes().size();
        if (round->may_need_more()) --node.in_flight_unsure;
        Answer answer = read_reply(round->command, reply);
        note_keys(i, *round, answer, reply.kind == Reply::Kind::error);
        if (is_unknown_script(reply) && heal(i, round)) return;
        doubt(i, *round, answer);
        record(i, *round, answer.vote, answer.text, answer.values, latency_of(*round));
        if (round->is_release() && answer.vote == Vote::refused) on_release_refused(i, round);
        if (is_contradiction(reply)) return drop(i, {answer.vote, answer.text});
        if (node.is_duplicate) return drop_duplicate(i);
        if (!node.pending_releases.empty() && node.in_flight.size() < options_.backlog) send_pending(i);
    }

    /// That a node has no key promises nothing while it would not vote on an acquire (R25).
    void doubt(std::size_t i, const Round<TimePoint>& round, Answer& answer) {
        const bool has_no_key = answer.vote == Vote::granted && answer.text.empty();
        if (round.command.kind() != Command::Kind::peek || !has_no_key) return;
        const auto objection = nodes_[i].eligibility.objection(true, [this] { return now(); });
        if (!objection) return;
        answer.vote = objection->vote;
        answer.text = objection->text;
    }

    /// An error has done nothing; a reply that nobody understands may have.
    void note_keys(std::size_t i, const Round<TimePoint>& round, const Answer& answer, bool is_error) {
        if (!round.keys) return;
        if (round.is_release() && answer.vote != Vote::refused) {
            round.keys->on_released(i, nodes_[i].link);
            nodes_[i].repeat_after = {};
        }
        if (round.lasts.count() == 0) return;
        const bool may_have_run = answer.vote == Vote::granted || (answer.vote == Vote::refused && !is_error);
        std::optional<TimePoint> until;
        if (may_have_run) until = now() + lasting(round, answer);
        round.keys->on_answered(i, until);
    }

    /// An extension may find that more is left than it asked for.
    [[nodiscard]] std::chrono::nanoseconds lasting(const Round<TimePoint>& round,
                                                   const Answer& answer) const {
        std::chrono::nanoseconds longest = round.lasts;
        if (round.command.kind() != Command::Kind::extend) return longest;
        for (const std::int64_t left_ms : answer.values) {
            const std::chrono::milliseconds left{std::min<std::int64_t>(left_ms, longest_ttl.count())};
            longest = std::max<std::chrono::nanoseconds>(longest, left + drift_of(left, options_));
        }
        return longest;
    }

    /// A script the node does not know has not run: it is sent again, with its text. Not so one that could
    /// run after what was sent since: one that makes keys whose release is on the way, or an extension that
    /// has been decided without it. A release and a waiter's leave may come at any time.
    bool heal(std::size_t i, const RoundPtr& round) {
        Ballot& ballot = round->ballots[i];
        if (!std::exchange(ballot.knows_script, false) || round->command.script() == nullptr) return false;
        const bool is_too_late =
            round->makes_keys() ? round->is_unwanted() : !round->may_come_late() && round->decided;
        if (is_too_late) {
            teach(i, *round->command.script());
            return false;
        }
        if (transport_.send(i, round->command.with_script_text()) != Sent::accepted) return false;
        expect_reply(i, round);
        return true;
    }

    /// So that the next use of a script is not too late as well.
    void teach(std::size_t i, const Script& script) {
        const auto round =
            std::make_shared<Round<TimePoint>>(load_command(script), nodes_.size(), now(), now());
        if (transport_.send(i, round->command.bytes()) == Sent::accepted) expect_reply(i, round);
    }

    void on_up(std::size_t i, const NodeInfo& info) override {
        auto& node = nodes_[i];
        if (!info.is_master) return drop(i, {Vote::refused, "it is a replica, not a master"});
        if (info.scripts == Scripts::never) {
            const std::string text = "what it grants could not be released: " + info.scripts_refusal;
            return drop(i, {Vote::refused, text});
        }
        // Of two nodes that lead to one server the later in the list is asked again, as a replica is.
        if (const auto other = nodes_.other_at(server_of(info.run_id), i)) {
            if (*other < i) return drop(i, same_server);
            nodes_[*other].is_duplicate = true;  // what it was asked before, this one must not be
            drop_duplicate(*other);
        }
        node.pending_releases.expire(i, node.link, now());  // while what may yet run is known by its link
        node.is_up = true;
        node.link = {node.link.number + 1, now()};
        node.scripts = info.scripts;
        node.repeat_at.reset();
        node.eligibility.on_up(info, options_.restart_quarantine, now());
        send_pending(i);
        std::deque<RoundPtr> waiting;
        waiting.swap(node.waiting);
        for (const RoundPtr& round : waiting) {
            node.bytes -= round->command.bytes().size();
            hand_over(i, round);
        }
        look_at_connections();
    }

    void on_message(std::size_t i, std::string_view payload) override {
        if (upcalls_ != nullptr) upcalls_->on_notice(i, payload);
    }

    void on_down(std::size_t i, const Fault& fault) override {
        auto& node = nodes_[i];
        node.is_up = node.is_duplicate = false;
        node.repeat_at.reset();
        std::deque<RoundPtr> undecided;
        undecided.swap(node.in_flight);
        undecided.insert(undecided.end(), node.waiting.begin(), node.waiting.end());
        node.waiting.clear();
        node.bytes = 0;
        node.in_flight_unsure = 0;
        const std::string text{fault.text};  // what this decides may note another fault
        for (const RoundPtr& round : undecided) fail(i, round, {fault.vote, text});
        look_at_connections();
    }

    [[nodiscard]] TimePoint now() const { return clock_.now(); }

    Transport& transport_;
    const Clock& clock_;
    const Options& options_;
    Awakening& awakening_;
    Upcalls<TimePoint>* upcalls_ = nullptr;
    Nodes<Transport, TimePoint> nodes_;
    bool is_ending_ = false;
    Timers<Suspended<TimePoint>> timers_;
    std::vector<SuspendedPtr> awaiting_connections_;
    TimePoint turn_began_{};  ///< read once for all that a turn brings; decisions read the clock themselves
};

}  // namespace redlock::inline v0_1::detail

// SPDX-License-Identifier: Apache-2.0
// Sends the requests of rounds to the nodes, one by one, and reads what comes back.
#pragma once

#include <chrono>
#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "redlock/engine/nodes.hpp"
#include "redlock/engine/round.hpp"
#include "redlock/engine/transport.hpp"
#include "redlock/options.hpp"
#include "redlock/system/ref.hpp"
#include "redlock/voting/command.hpp"
#include "redlock/voting/reply.hpp"

namespace redlock::inline v0_1::detail {

/// What the requests report.
template <class TimePoint>
struct RequestEvents {
    using RoundPtr = Ref<Round<TimePoint>>;

    /// A node answered.
    virtual void on_answer(std::size_t node, const RoundPtr& round, const Answer& answer) = 0;
    /// A node was not sent the request, or the answer is lost.
    virtual void on_no_answer(std::size_t node, const RoundPtr& round, const Fault& fault) = 0;
    /// A connection came up, or ended.
    virtual void on_connection_changed() = 0;

   protected:
    ~RequestEvents() = default;
};

/// The requests at each node: bounded, in order, repeated where that does no harm. Only the driver uses it.
template <class Transport, class Clock>
class Requests {
   public:
    using TimePoint = typename Clock::time_point;
    using RoundPtr = Ref<Round<TimePoint>>;

    Requests(Transport& transport, const Clock& clock, const Options& options,
             RequestEvents<TimePoint>& events)
        : transport_{transport}, clock_{clock}, options_{options}, events_{events}, nodes_{transport} {}

    Requests(const Requests&) = delete;
    Requests& operator=(const Requests&) = delete;

    [[nodiscard]] Nodes<Transport, TimePoint>& nodes() noexcept { return nodes_; }

    /// Whether no node has an urgent release, or a request whose reply may need more.
    [[nodiscard]] bool are_settled() const {
        for (const auto& node : nodes_) {
            if (node.pending_releases.are_urgent() || node.in_flight_unsure != 0) return false;
        }
        return true;
    }

    /// Whether a reply is still to come.
    [[nodiscard]] bool has_unanswered() const {
        for (const auto& node : nodes_) {
            if (!node.in_flight.empty()) return true;
        }
        return false;
    }

    /// Sends a round to one node, or reports why not.
    void offer(std::size_t i, const RoundPtr& round) {
        auto& node = nodes_[i];
        const std::size_t share =
            round->traits().is_release ? 2 : 1;  // half of the room is for releases alone
        if (node.in_flight.size() + node.waiting.size() >= options_.backlog * share ||
            node.in_flight.bytes() + node.waiting.bytes() >= bytes_max * share) {
            return fail(i, round, {Vote::timeout, "too many requests are unanswered there"});
        }
        switch (nodes_.connect(i)) {
            case Sent::connecting: return node.waiting.push(round);
            case Sent::accepted: return hand_over(i, round);
            case Sent::down: return fail(i, round, transport_.fault(i));
        }
    }

    // ---- pending releases --------------------------------------------------------------------------

    /// When to call repeat_releases() and expire_releases().
    [[nodiscard]] std::optional<TimePoint> next_due() const {
        std::optional<TimePoint> next;
        for (const auto& node : nodes_) {
            const std::optional<TimePoint> due = node.pending_releases.next_due();
            if (due) next = next ? first_of(*next, *due) : *due;
        }
        return next;
    }

    /// Sends them to nodes that refused one, when the pause has ended.
    void repeat_releases() {
        for (std::size_t i = 0; i < nodes_.size(); ++i) {
            auto& releases = nodes_[i].pending_releases;
            if (!releases.are_paused() || !releases.end_pause(clock_.now())) continue;
            if (nodes_.connect(i) == Sent::accepted) send_pending(i);
        }
    }

    void expire_releases() {
        for (std::size_t i = 0; i < nodes_.size(); ++i) {
            auto& node = nodes_[i];
            if (!node.pending_releases.are_urgent()) continue;
            node.pending_releases.expire(i, node.link, clock_.now());
            keep_trying(i);
        }
    }

    // ---- what the transport reports ----------------------------------------------------------------

    void on_reply(std::size_t i, const Reply& reply) {
        auto& node = nodes_[i];
        const RoundPtr round = node.in_flight.pop();
        if (round->may_need_more()) --node.in_flight_unsure;
        Answer answer = read_reply(round->command, reply);
        note_keys(i, *round, answer, reply.kind == Reply::Kind::error);
        // The login had not asked for it, or the right to it is gone.
        if (is_evalsha_refused(reply)) node.scripts = Scripts::by_text;
        if ((is_unknown_script(reply) || is_evalsha_refused(reply)) && heal(i, round)) return;
        doubt(i, *round, answer);
        events_.on_answer(i, round, answer);
        if (round->traits().is_release && answer.vote == Vote::refused) on_release_refused(i, round);
        if (is_contradiction(reply)) return drop(i, {answer.vote, answer.text});
        if (node.is_duplicate) return drop_duplicate(i);
        if (!node.pending_releases.empty() && node.in_flight.size() < options_.backlog) send_pending(i);
    }

    void on_up(std::size_t i, const NodeInfo& info) {
        auto& node = nodes_[i];
        if (!info.is_master) return drop(i, {Vote::refused, "it is a replica, not a master"});
        if (info.scripts == Scripts::never) {
            const std::string text = "what it grants could not be released: " + info.scripts_refusal;
            return drop(i, {Vote::refused, text});
        }
        // Of two nodes that lead to one server the later in the list is dropped; its role and address are
        // looked up anew with the next connection. But the earlier one, where its connection is old: it may
        // be the one that leads to another's server since then.
        if (const auto other = nodes_.other_at(server_of(info.run_id), i)) {
            constexpr auto old = std::chrono::seconds{10};
            const bool is_new = clock_.now() - nodes_[*other].link.since < old;
            if (*other < i && is_new) return drop(i, same_server);
            nodes_[*other].is_duplicate = true;  // what that one was asked, this one must not be
            drop_duplicate(*other);
        }
        node.pending_releases.expire(i, node.link,
                                     clock_.now());  // before the link of their acquires changes
        node.is_up = true;
        node.link = {node.link.number + 1, clock_.now()};
        node.scripts = info.scripts;
        node.pending_releases.on_connection_changed();
        node.eligibility.on_up(info, options_.restart_quarantine, clock_.now());
        send_pending(i);
        auto waiting = node.waiting.take();
        while (!waiting.empty()) hand_over(i, waiting.pop());
        events_.on_connection_changed();
    }

    void on_down(std::size_t i, const Fault& fault) {
        auto& node = nodes_[i];
        node.is_up = node.is_duplicate = false;
        node.pending_releases.on_connection_changed();
        node.in_flight_unsure = 0;
        const std::string text{fault.text};  // a round that ends here may change what `fault` refers to
        auto in_flight = node.in_flight.take();
        auto waiting = node.waiting.take();
        while (!in_flight.empty()) fail(i, in_flight.pop(), {fault.vote, text});
        while (!waiting.empty()) fail(i, waiting.pop(), {fault.vote, text});
        events_.on_connection_changed();
    }

   private:
    static constexpr std::size_t bytes_max = std::size_t{16} << 20U;  // unanswered, per node

    // ---- sending -----------------------------------------------------------------------------------

    /// The node did not get the request, or the answer is lost.
    void fail(std::size_t i, const RoundPtr& round, const Fault& fault) {
        if (round->traits().is_release) keep_pending(i, round);
        events_.on_no_answer(i, round, fault);
    }

    /// Sends a round to a node that is connected.
    void hand_over(std::size_t i, const RoundPtr& round) {
        auto& node = nodes_[i];
        const CommandTraits& traits = round->traits();
        if (round->is_unwanted()) {
            return events_.on_no_answer(i, round, {Vote::unreachable, "it was never sent"});
        }
        if (node.is_duplicate) return fail(i, round, same_server);
        if (traits.gives_fencing_tokens) {
            const auto objection = node.eligibility.objection(clock_);
            if (objection) return events_.on_no_answer(i, round, *objection);
        }
        if (!traits.is_release && nodes_.has_asked_server(*round, i)) {
            return events_.on_no_answer(i, round, same_server);
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
        if (round->may_need_more()) ++node.in_flight_unsure;
        node.in_flight.push(round);
    }

    // ---- pending releases --------------------------------------------------------------------------

    /// Where the node may have keys to release: it is sent with the next connection, or after a pause.
    void keep_pending(std::size_t i, const RoundPtr& round) {
        auto& node = nodes_[i];
        if (!round->keys) return;
        const auto until = round->keys->until(i, node.link, clock_.now());
        if (!until) return;
        round->ballots[i].knows_script = true;
        node.pending_releases.add(round, *until, options_.backlog);
        keep_trying(i);
    }

    /// As far as there is room.
    void send_pending(std::size_t i) {
        auto& node = nodes_[i];
        for (std::size_t left = node.pending_releases.sendable(); left > 0; --left) {
            if (node.in_flight.size() >= options_.backlog * std::size_t{2}) break;
            hand_over(i, node.pending_releases.take());
        }
        keep_trying(i);
    }

    /// The reason may pass while there are keys: read-only, no replicas, no memory, no rights.
    void on_release_refused(std::size_t i, const RoundPtr& round) {
        keep_pending(i, round);
        nodes_[i].pending_releases.on_refused(clock_, options_.reconnect_max);
    }

    /// Urgent releases are worth a connection.
    void keep_trying(std::size_t i) { transport_.keep_trying(i, nodes_[i].pending_releases.are_urgent()); }

    // ---- replies -----------------------------------------------------------------------------------

    /// A node without the key promises nothing while it would not vote on an acquire (R25).
    void doubt(std::size_t i, const Round<TimePoint>& round, Answer& answer) {
        const bool has_no_key = answer.vote == Vote::granted && answer.text.empty();
        if (round.command.kind() != Command::Kind::peek || !has_no_key) return;
        const auto objection = nodes_[i].eligibility.objection(clock_);
        if (!objection) return;
        answer.vote = objection->vote;
        answer.text = objection->text;
    }

    /// An error means that nothing was done; a reply that cannot be read may hide that something was.
    void note_keys(std::size_t i, const Round<TimePoint>& round, const Answer& answer, bool is_error) {
        if (!round.keys) return;
        if (round.traits().is_release && answer.vote != Vote::refused) {
            round.keys->on_released(i, nodes_[i].link);
            nodes_[i].pending_releases.on_confirmed();
        }
        if (round.lasts.count() == 0) return;
        const bool may_have_run = answer.vote == Vote::granted || (answer.vote == Vote::refused && !is_error);
        std::optional<TimePoint> until;
        if (may_have_run) until = clock_.now() + round.lasting(answer, options_);
        round.keys->on_answered(i, until);
    }

    /// A script that the node does not know, or does not run by its name, has not run: it is sent again, with
    /// its text. Not where it could then run after a request that was sent since: where it makes keys whose
    /// release is on the way, or is an extension that was decided without this node.
    bool heal(std::size_t i, const RoundPtr& round) {
        Ballot& ballot = round->ballots[i];
        if (!std::exchange(ballot.knows_script, false) || round->command.script() == nullptr) return false;
        const CommandTraits& traits = round->traits();
        const bool is_too_late =
            traits.makes_keys ? round->is_unwanted() : !traits.may_run_late && round->decided;
        if (is_too_late) {
            if (nodes_[i].scripts == Scripts::by_name) teach(i, *round->command.script());
            return false;
        }
        if (transport_.send(i, round->command.with_script_text()) != Sent::accepted) return false;
        expect_reply(i, round);
        return true;
    }

    /// So that the next use of the script is not too late as well.
    void teach(std::size_t i, const Script& script) {
        const TimePoint now = clock_.now();
        const auto round = make_ref<Round<TimePoint>>(load_command(script), nodes_.size(), now, now);
        if (transport_.send(i, round->command.bytes()) == Sent::accepted) expect_reply(i, round);
    }

    // ---- connections -------------------------------------------------------------------------------

    /// Ends a connection on which the node cannot vote, or is not what it said at login (R29).
    void drop(std::size_t i, const Fault& fault) {
        transport_.drop(i, fault);
        on_down(i, fault);
    }

    void drop_duplicate(std::size_t i) {
        if (nodes_[i].in_flight.empty()) drop(i, same_server);
    }

    Transport& transport_;
    const Clock& clock_;
    const Options& options_;
    RequestEvents<TimePoint>& events_;
    Nodes<Transport, TimePoint> nodes_;
};

}  // namespace redlock::inline v0_1::detail

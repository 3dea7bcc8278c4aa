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

#include "redlock/core/call.hpp"
#include "redlock/core/clock.hpp"
#include "redlock/core/node.hpp"
#include "redlock/core/round.hpp"
#include "redlock/core/timers.hpp"
#include "redlock/core/transport.hpp"
#include "redlock/options.hpp"

namespace redlock::detail {

/// Told when the transport has done waiting, before it tells what happened.
struct Awakening {
    virtual void on_awake() = 0;

   protected:
    ~Awakening() = default;
};

/// Told what arrives on the channel that the transport listens to.
struct Listener {
    virtual void on_call(std::size_t node, std::string_view payload) = 0;
    /// In every turn of a driver.
    virtual void on_turn() = 0;

   protected:
    ~Listener() = default;
};

/// Sends rounds to the nodes in order, counts what comes back, and resumes who waits for the verdict.
template <Transport Wire, Clock Time>
class Rounds final : private TransportEvents {
   public:
    using TimePoint = typename Time::time_point;
    using RoundPtr = std::shared_ptr<Round<TimePoint>>;
    using WaitPtr = std::shared_ptr<Wait<TimePoint>>;

    Rounds(Wire& transport, const Time& clock, const Options& options, Awakening& awakening)
        : transport_{transport},
          clock_{clock},
          options_{options},
          awakening_{awakening},
          nodes_(transport.size()) {}

    Rounds(const Rounds&) = delete;
    Rounds& operator=(const Rounds&) = delete;

    /// Writes, waits until something happens or `until`, and deals with all that has happened.
    void poll(bool may_wait, const std::optional<TimePoint>& until) {
        court_debtors();
        if (listener_ != nullptr) listener_->on_turn();
        transport_.poll(*this, may_wait ? time_left(until) : std::chrono::nanoseconds{0});
        fire_timers();
    }

    /// Whether nothing is left to be done for a node: nothing to be written, no release owed, no reply to
    /// come that may ask for more.
    [[nodiscard]] bool settled() const {
        if (transport_.unfinished()) return false;
        const auto is_settled = [](const auto& node) {
            return node.owed.empty() && node.in_flight_unsure == 0;
        };
        return std::all_of(nodes_.begin(), nodes_.end(), is_settled);
    }

    /// Whether a reply is still to come.
    [[nodiscard]] bool has_unanswered() const {
        return std::any_of(nodes_.begin(), nodes_.end(),
                           [](const auto& node) { return !node.in_flight.empty(); });
    }

    [[nodiscard]] std::optional<TimePoint> next_timer() const {
        if (timers_.empty()) return std::nullopt;
        return timers_.earliest()->deadline;
    }

    /// Starts a wait; sends it, where it is a round.
    void begin(WaitPtr wait) {
        if (wait->decided) return;
        if (wait->call != nullptr) {
            wait->call->current = wait.get();
            if (wait->call->cancelled) return decide(*wait, Verdict::cancelled);
        }
        if (wait->is_immediate) return decide(*wait, Verdict::carried);
        if (wait->waiter) timers_.add(wait);
        if (!wait->is_round) return;
        const RoundPtr round = std::static_pointer_cast<Round<TimePoint>>(std::move(wait));
        if (round->is_release() && round->acquire) round->acquire->unwanted = true;
        if (round->lead) return offer(*round->lead, round);
        offer_to_all(round);
    }

    /// Makes a wait end sooner.
    void hurry(Wait<TimePoint>& wait, TimePoint deadline) {
        if (!(deadline < wait.deadline)) return;
        wait.deadline = deadline;
        timers_.update(wait);
    }

    /// The node that all contenders of a resource would ask first: by a hash of the resource and the
    /// server, among those that are up and vote, but for the ones to avoid.
    [[nodiscard]] std::optional<std::size_t> lead_for(std::string_view resource,
                                                      const std::vector<bool>& avoid) {
        std::optional<std::size_t> lead;
        std::uint64_t highest = 0;
        for (std::size_t i = 0; i < nodes_.size(); ++i) {
            const auto& standing = nodes_[i].standing;
            if (avoid[i] || transport_.connect(i) != Sent::accepted) continue;
            if (standing.objection(true, [this] { return now(); })) continue;
            const std::string_view name =
                standing.run_id().empty() ? transport_.endpoint(i) : standing.run_id();
            const std::uint64_t rank = hash(name, hash(resource));
            if (lead && rank <= highest) continue;
            lead = i;
            highest = rank;
        }
        return lead;
    }

    void set_listener(Listener* listener) noexcept { listener_ = listener; }

    /// Ends a wait and resumes its coroutine; nothing the second time.
    void decide(WaitBase& base, Verdict verdict) {
        auto& wait = static_cast<Wait<TimePoint>&>(base);
        if (wait.decided) return;
        timers_.remove(wait);
        wait.decided = true;
        wait.verdict = verdict;
        if (wait.call != nullptr) wait.call->current = nullptr;
        if (wait.is_round && verdict == Verdict::timed_out) {
            auto& round = static_cast<Round<TimePoint>&>(wait);
            for (std::size_t i = 0; i < nodes_.size(); ++i) {
                if (round.ballots[i].vote == Vote::pending) round.settle(i, Vote::timeout);
            }
        }
        if (wait.waiter) std::exchange(wait.waiter, {}).resume();
    }

   private:
    static constexpr std::size_t byte_limit = std::size_t{64} << 20U;  // unanswered, per node
    static constexpr std::chrono::nanoseconds debt_interval = std::chrono::milliseconds{50};

    // ---- time --------------------------------------------------------------------------------------

    [[nodiscard]] std::optional<std::chrono::nanoseconds> time_left(std::optional<TimePoint> until) const {
        if (!timers_.empty() && (!until || timers_.earliest()->deadline < *until)) {
            until = timers_.earliest()->deadline;
        }
        std::optional<std::chrono::nanoseconds> left;
        if (until) left = std::max(std::chrono::nanoseconds{0}, -(now() - *until));
        for (const auto& node : nodes_) {
            if (!node.owed.empty()) left = std::min(left.value_or(debt_interval), debt_interval);
        }
        return left;
    }

    void fire_timers() {
        if (timers_.empty()) return;
        const TimePoint time = now();
        while (!timers_.empty() && (time - timers_.earliest()->deadline).count() >= 0) {
            const WaitPtr due = timers_.earliest();
            decide(*due, Verdict::timed_out);
        }
    }

    /// Releases owed to a node that is down are worth a connection until the keys end by themselves.
    void court_debtors() {
        for (std::size_t i = 0; i < nodes_.size(); ++i) {
            auto& owed = nodes_[i].owed;
            if (owed.empty()) continue;
            const TimePoint time = now();
            std::erase_if(owed, [&](const RoundPtr& release) {
                return (time - release->keys_end).count() >= 0 && !release->may_yet_arrive(i);
            });
            if (!owed.empty() && transport_.connect(i) == Sent::accepted) hand_over_owed(i);
        }
    }

    // ---- what is sent ------------------------------------------------------------------------------

    /// FNV-1a: the same in every process.
    [[nodiscard]] static std::uint64_t hash(std::string_view text, std::uint64_t seed = 0xcbf29ce484222325) {
        for (const char letter : text) seed = (seed ^ static_cast<unsigned char>(letter)) * 0x100000001b3;
        return seed;
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
        const bool is_release = round->is_release();
        const std::size_t limit = options_.backlog * (is_release ? 2U : 1U);  // the rest is for releases
        if (node.in_flight.size() + node.waiting.size() >= limit || node.in_flight_bytes >= byte_limit) {
            if (is_release) owe(i, round);
            return record(i, *round, Vote::timeout, "too many requests are unanswered there");
        }
        switch (transport_.connect(i)) {
            case Sent::connecting: node.waiting.push_back(round); return;
            case Sent::accepted: return hand_over(i, round);
            case Sent::down: break;
        }
        if (is_release) owe(i, round);
        const Fault fault = transport_.fault(i);
        record(i, *round, fault.vote, fault.words);
    }

    /// To a node that is connected.
    void hand_over(std::size_t i, const RoundPtr& round) {
        auto& node = nodes_[i];
        if (round->is_unwanted()) return record(i, *round, Vote::unreachable, "it was never sent");
        if (const auto objection = node.standing.objection(round->begins(), [this] { return now(); })) {
            return record(i, *round, objection->vote, objection->words);
        }
        if (transport_.send(i, round->command.bytes()) != Sent::accepted) {
            if (round->is_release()) owe(i, round);
            const Fault fault = transport_.fault(i);
            return record(i, *round, fault.vote, fault.words);
        }
        round->ballots[i].handed = true;
        if (round->command.kind() == Command::Kind::put_back && round->acquire) {
            round->acquire->ballots[i].handed = true;
        }
        expect_reply(i, round);
    }

    void expect_reply(std::size_t i, const RoundPtr& round) {
        auto& node = nodes_[i];
        node.in_flight_bytes += round->command.bytes().size();
        if (round->may_need_more()) ++node.in_flight_unsure;
        node.in_flight.push_back(round);
    }

    /// A release that may have something to undo goes out with the next connection.
    void owe(std::size_t i, const RoundPtr& round) {
        auto& owed = nodes_[i].owed;
        if (!round->may_have_reached(i)) return;
        if ((now() - round->keys_end).count() >= 0 && !round->may_yet_arrive(i)) return;
        if (owed.size() >= options_.backlog) owed.pop_front();
        round->ballots[i].knows_script = true;
        owed.push_back(round);
    }

    /// As far as there is room, and not at once again where the node was not ready for them.
    void hand_over_owed(std::size_t i) {
        auto& node = nodes_[i];
        if (node.is_unready && (now() - node.try_again_at).count() < 0) return;
        node.is_unready = false;
        for (std::size_t left = node.owed.size(); left > 0; --left) {
            if (node.in_flight.size() >= options_.backlog * std::size_t{2}) return;
            const RoundPtr round = std::move(node.owed.front());
            node.owed.pop_front();
            hand_over(i, round);
        }
    }

    void record(std::size_t i, Round<TimePoint>& round, Vote vote, std::string_view words,
                std::vector<std::int64_t> values = {}) {
        Ballot& ballot = round.ballots[i];
        const bool is_first = ballot.vote == Vote::pending;  // a release may be sent again
        ballot.vote = vote;
        ballot.words = words;
        ballot.values = std::move(values);
        const std::chrono::nanoseconds latency =
            std::max(std::chrono::nanoseconds{0}, turn_began_ - round.started);
        ballot.latency = std::chrono::duration_cast<std::chrono::microseconds>(latency);
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
            case Tally::Decision::impossible: return decide(round, Verdict::impossible);
            case Tally::Decision::open: return;
        }
    }

    // ---- what the transport tells ------------------------------------------------------------------

    void on_awake() override {
        turn_began_ = now();
        awakening_.on_awake();
    }

    void on_reply(std::size_t i, const Reply& reply) override {
        auto& node = nodes_[i];
        const RoundPtr round = std::move(node.in_flight.front());
        node.in_flight.pop_front();
        node.in_flight_bytes -= round->command.bytes().size();
        if (round->may_need_more()) --node.in_flight_unsure;
        if (is_unknown_script(reply) && heal(i, round)) return;
        Answer answer = read_reply(round->command, reply);
        record(i, *round, answer.vote, answer.words, std::move(answer.values));
        if (round->is_release() && is_passing_refusal(reply)) {
            node.is_unready = true;
            node.try_again_at = now() + debt_interval;
            owe(i, round);
        }
        if (!node.owed.empty() && node.in_flight.size() < options_.backlog) hand_over_owed(i);
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
        nodes_[i].standing.on_up(info, options_.restart_quarantine, now());
        for (std::size_t node = 0; node < nodes_.size(); ++node) {
            const std::string& run_id = nodes_[node].standing.run_id();
            const auto is_same = [&](const auto& other) { return other.standing.run_id() == run_id; };
            const auto end = nodes_.begin() + static_cast<std::ptrdiff_t>(node);
            nodes_[node].standing.set_duplicate(!run_id.empty() && std::any_of(nodes_.begin(), end, is_same));
        }
        hand_over_owed(i);
        std::deque<RoundPtr> waiting;
        waiting.swap(nodes_[i].waiting);
        for (const RoundPtr& round : waiting) hand_over(i, round);
    }

    void on_message(std::size_t i, std::string_view payload) override {
        if (listener_ != nullptr) listener_->on_call(i, payload);
    }

    void on_down(std::size_t i, const Fault& fault) override {
        auto& node = nodes_[i];
        std::deque<RoundPtr> undecided;
        undecided.swap(node.in_flight);
        node.in_flight_bytes = 0;
        node.in_flight_unsure = 0;
        for (RoundPtr& round : node.waiting) undecided.push_back(std::move(round));
        node.waiting.clear();
        for (const RoundPtr& round : undecided) {
            if (round->is_release()) owe(i, round);
            record(i, *round, fault.vote, fault.words);
        }
    }

    [[nodiscard]] TimePoint now() const { return clock_.now(); }

    Wire& transport_;
    const Time& clock_;
    const Options& options_;
    Awakening& awakening_;
    Listener* listener_ = nullptr;
    std::vector<Node<TimePoint>> nodes_;
    Timers<Wait<TimePoint>> timers_;
    TimePoint turn_began_{};  ///< read once for all that a turn brings; decisions read the clock themselves
};

}  // namespace redlock::detail

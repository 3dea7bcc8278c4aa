// One command sent to all nodes, and its votes.
#pragma once

#include <chrono>
#include <coroutine>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "redlock/core/command.hpp"
#include "redlock/core/quorum.hpp"
#include "redlock/core/transport.hpp"

namespace redlock::detail {

struct Call;

/// How a wait ended.
enum class Verdict : std::uint8_t {
    carried,     ///< a quorum said yes
    impossible,  ///< a quorum can not say yes any more
    timed_out,   ///< the deadline came first
    cancelled,   ///< a stop was requested
};

/// Something that a coroutine waits for.
struct WaitBase : std::enable_shared_from_this<WaitBase> {
    explicit WaitBase(bool for_round) : is_round{for_round} {}
    virtual ~WaitBase() = default;
    WaitBase(const WaitBase&) = delete;
    WaitBase& operator=(const WaitBase&) = delete;

    const bool is_round;
    bool is_immediate = false;  ///< over as soon as a driver takes it
    bool decided = false;
    Verdict verdict = Verdict::timed_out;
    Call* call = nullptr;            ///< on whose behalf; none: nobody can cancel it
    std::coroutine_handle<> waiter;  ///< none: nobody waits, and the deadline means nothing
    std::size_t timer_place = 0;
};

/// A point in time; of a round, its deadline.
template <class TimePoint>
struct Wait : WaitBase {
    explicit Wait(TimePoint until, bool for_round = false) : WaitBase{for_round}, deadline{until} {}
    TimePoint deadline;
};

/// What one node said in a round, and what it was sent.
struct Ballot {
    Vote vote = Vote::pending;
    bool handed = false;       ///< the request was accepted for sending: it may run there
    bool knows_script = true;  ///< false once the script's text had to be sent
    std::chrono::microseconds latency{0};
    std::string words;
    std::vector<std::int64_t> values;
};

/// Votes go on being noted after the decision, for the lease and for reports; the verdict stays.
template <class TimePoint>
struct Round final : Wait<TimePoint> {
    Round(Command what, std::size_t node_count, TimePoint start, TimePoint until)
        : Wait<TimePoint>{until, true},
          command{std::move(what)},
          started{start},
          tally{node_count},
          ballots(node_count) {}

    Command command;
    TimePoint started;
    Tally tally;
    std::vector<Ballot> ballots;
    std::optional<std::size_t> lead;  ///< the node to ask before the others; none: all at once
    bool wants_all = false;           ///< decided only when every node has voted, or by the deadline
    bool unwanted = false;            ///< what was not sent yet need not be: its release is on the way
    std::shared_ptr<Round> acquire;   ///< of the other kinds: the acquire they follow, where known
    TimePoint keys_end{};             ///< of a release: when the ttl has done its work

    /// Before it is sent: a node that needs not be asked.
    void settle(std::size_t node, Vote vote) {
        ballots[node].vote = vote;
        tally.count(vote);
    }

    [[nodiscard]] bool is_release() const noexcept { return command.kind() == Command::Kind::release; }
    [[nodiscard]] bool is_acquire() const noexcept { return command.kind() == Command::Kind::acquire; }

    /// Whether it gives out fencing tokens, which a node that may have forgotten must not.
    [[nodiscard]] bool begins() const noexcept {
        return is_acquire() || command.kind() == Command::Kind::adopt;
    }

    [[nodiscard]] bool makes_keys() const noexcept {
        return is_acquire() || command.kind() == Command::Kind::put_back;
    }

    /// Whether it would make keys whose release is on the way, or that are another's to release.
    [[nodiscard]] bool is_unwanted() const noexcept {
        return is_acquire() ? unwanted : makes_keys() && (!acquire || acquire->unwanted);
    }

    /// Whether it does no harm however late it runs.
    [[nodiscard]] bool may_come_late() const noexcept {
        return is_release() || command.kind() == Command::Kind::delist;
    }

    /// Whether a reply may ask for more: to send the script's text, or to repeat a release.
    [[nodiscard]] bool may_need_more() const noexcept {
        return command.script() != nullptr && (may_come_late() || makes_keys());
    }

    /// Whether the acquire may still be on its way to a node, however long ago it was sent.
    [[nodiscard]] bool may_yet_arrive(std::size_t node) const noexcept {
        if (!acquire || !acquire->ballots[node].handed) return false;
        const Vote vote = acquire->ballots[node].vote;
        return vote == Vote::pending || vote == Vote::timeout || vote == Vote::unreachable;
    }

    /// Whether there may be a key of ours at a node.
    [[nodiscard]] bool may_have_reached(std::size_t node) const noexcept {
        return !acquire || acquire->ballots[node].handed;
    }
};

}  // namespace redlock::detail

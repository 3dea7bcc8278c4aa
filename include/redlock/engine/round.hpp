// SPDX-License-Identifier: Apache-2.0
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

#include "redlock/engine/key_records.hpp"
#include "redlock/engine/timers.hpp"
#include "redlock/engine/transport.hpp"
#include "redlock/voting/command.hpp"
#include "redlock/voting/quorum.hpp"
#include "redlock/voting/reply.hpp"

namespace redlock::inline v0_1::detail {

struct Call;

/// How a wait ended.
enum class Verdict : std::uint8_t {
    carried,     ///< a quorum said yes
    impossible,  ///< a quorum can not say yes any more
    timed_out,   ///< the deadline came first
    cancelled,   ///< a stop was requested
    put_off,     ///< it was not sent: connections are being made that are worth waiting for
};

/// Something that a coroutine waits for.
struct SuspendedBase : std::enable_shared_from_this<SuspendedBase> {
    enum class Kind : std::uint8_t {
        time,         ///< its deadline, or a signal
        turn,         ///< a driver that takes it
        round,        ///< a verdict
        connections,  ///< to a quorum, or that no more can be hoped for
    };

    explicit SuspendedBase(Kind what) : kind{what} {}
    virtual ~SuspendedBase() = default;
    SuspendedBase(const SuspendedBase&) = delete;
    SuspendedBase& operator=(const SuspendedBase&) = delete;

    const Kind kind;
    bool decided = false;
    Verdict verdict = Verdict::timed_out;
    Call* call = nullptr;                  ///< on whose behalf; none: nobody can cancel it
    std::coroutine_handle<> continuation;  ///< none: nobody waits, and the deadline means nothing
};

/// A point in time; of a round, its deadline.
template <class TimePoint>
struct Suspended : SuspendedBase {
    explicit Suspended(TimePoint until, SuspendedBase::Kind what = SuspendedBase::Kind::time)
        : SuspendedBase{what}, deadline{until} {}
    TimePoint deadline;
    TimerPlaces<TimePoint> timer_places{};
};

/// What one node said in a round, and what it was sent.
struct Ballot {
    Vote vote = Vote::pending;
    bool knows_script = true;  ///< false once the script's text had to be sent
    std::uint64_t server = 0;  ///< that was asked, by a hash of its run_id; 0: none, or it does not say
    std::chrono::microseconds latency{0};
    std::string text;
    std::vector<std::int64_t> values;
};

/// What becomes of a round that finds fewer than a quorum connected, and connections under way that are worth
/// waiting for (R22).
enum class Unconnected : std::uint8_t {
    goes_out,      ///< to whom it can, and its deadline stands
    is_put_off,    ///< Verdict::put_off: it begins anew when they are there, with a fresh clock
    takes_longer,  ///< by as long as a connection may take
};

/// Votes go on being noted after the decision, for the lease and for reports; the verdict stays.
template <class TimePoint>
struct Round final : Suspended<TimePoint> {
    Round(Command what, std::size_t node_count, TimePoint start, TimePoint until)
        : Suspended<TimePoint>{until, SuspendedBase::Kind::round},
          command{std::move(what)},
          started{start},
          tally{node_count},
          votes{std::make_shared<std::vector<Ballot>>(node_count)} {}

    Command command;
    TimePoint started;
    Tally tally;
    const std::shared_ptr<std::vector<Ballot>> votes;  ///< for a lease, which outlives the rest by far
    std::vector<Ballot>& ballots = *votes;
    Unconnected unconnected = Unconnected::goes_out;
    std::optional<std::size_t> lead;  ///< the node to ask before the others; none: all at once
    bool wants_all = false;           ///< decided only when every node has voted, or by the deadline
    bool wants_no = false;            ///< a quorum's no is waited for, where no quorum can say yes (R11)
    std::shared_ptr<KeyRecords<TimePoint>> keys;  ///< that it makes, has last, or deletes
    std::chrono::nanoseconds lasts{0};            ///< how long it has them last, from when it runs

    /// Before it is sent: a node that needs not be asked.
    void settle(std::size_t node, Vote vote) {
        ballots[node].vote = vote;
        tally.count(vote);
    }

    /// What is left of it is its votes, for a lease to keep.
    void forget_values() noexcept {
        for (Ballot& ballot : ballots) ballot.values = {};
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
    [[nodiscard]] bool is_unwanted() const noexcept { return makes_keys() && (!keys || keys->is_unwanted); }

    /// Whether it does no harm however late it runs.
    [[nodiscard]] bool may_come_late() const noexcept {
        return is_release() || command.kind() == Command::Kind::delist;
    }

    /// Whether a reply may ask for more: to send the script's text, or to repeat a release.
    [[nodiscard]] bool may_need_more() const noexcept {
        return command.script() != nullptr && (may_come_late() || makes_keys());
    }
};

}  // namespace redlock::inline v0_1::detail

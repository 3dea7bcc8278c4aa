// SPDX-License-Identifier: Apache-2.0
// One command sent to all nodes, and its votes.
#pragma once

#include <algorithm>
#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "redlock/engine/key_records.hpp"
#include "redlock/engine/suspended.hpp"
#include "redlock/options.hpp"
#include "redlock/result.hpp"
#include "redlock/system/ref.hpp"
#include "redlock/voting/command.hpp"
#include "redlock/voting/quorum.hpp"
#include "redlock/voting/reply.hpp"

namespace redlock::inline v0_1::detail {

/// What the engine has to know of a kind of command.
struct CommandTraits {
    Command::Kind kind{};
    /// It may make the keys of a lease: it is not sent any more once their release is on the way.
    bool makes_keys = false;
    /// A node that may have forgotten earlier locks must not run it (R25).
    bool gives_fencing_tokens = false;
    /// It deletes the keys of a lease: it stays pending until the node confirms it.
    bool is_release = false;
    /// It does no harm however late it runs.
    bool may_run_late = false;
};

/// One row per kind, in their order.
inline constexpr std::array<CommandTraits, 10> command_traits{{
    {.kind = Command::Kind::acquire, .makes_keys = true, .gives_fencing_tokens = true},
    {.kind = Command::Kind::adopt, .gives_fencing_tokens = true},
    {.kind = Command::Kind::commit},
    {.kind = Command::Kind::extend},
    {.kind = Command::Kind::put_back, .makes_keys = true},
    {.kind = Command::Kind::release, .is_release = true, .may_run_late = true},
    {.kind = Command::Kind::peek},
    {.kind = Command::Kind::enlist},
    {.kind = Command::Kind::delist, .may_run_late = true},
    {.kind = Command::Kind::load},
}};

static_assert([] {
    for (std::size_t i = 0; i < command_traits.size(); ++i) {
        if (static_cast<std::size_t>(command_traits[i].kind) != i) return false;
    }
    return true;
}());

[[nodiscard]] constexpr const CommandTraits& traits_of(Command::Kind kind) noexcept {
    return command_traits[static_cast<std::size_t>(kind)];
}

/// What one node said in a round, and what it was sent.
struct Ballot {
    Vote vote = Vote::pending;
    bool knows_script = true;  ///< false once the script's text had to be sent
    std::uint64_t server = 0;  ///< the server that was asked, see server_of(); 0: none, or it is not known
    std::chrono::microseconds latency{0};
    std::string text;
    std::vector<std::int64_t> values;
};

/// What the nodes said, apart from the round: a lease keeps this and nothing else of it.
struct Votes final : Counted {
    explicit Votes(std::size_t node_count) : ballots(node_count) {}
    std::vector<Ballot> ballots;
};

/// What becomes of a round that begins before a quorum is connected, where one soon may be (R22).
enum class Unconnected : std::uint8_t {
    goes_out,      ///< it is sent to the nodes that are connected, and its deadline stands
    is_put_off,    ///< Verdict::put_off: the caller begins anew with a fresh clock when a quorum is connected
    takes_longer,  ///< its deadline moves back by as long as a connection may take
};

/// Votes are noted after the decision too, for the lease and for reports; the verdict stays.
template <class TimePoint>
struct Round final : Suspended<TimePoint> {
    Round(Command what, std::size_t node_count, TimePoint start, TimePoint until)
        : Suspended<TimePoint>{until, SuspendedBase::Kind::round},
          command{std::move(what)},
          started{start},
          tally{node_count},
          votes{make_ref<Votes>(node_count)} {}

    Command command;
    TimePoint started;
    Tally tally;
    const Ref<Votes> votes;
    std::vector<Ballot>& ballots = votes->ballots;
    Unconnected unconnected = Unconnected::goes_out;
    std::optional<std::size_t> lead;    ///< the node to ask before the others; none: all at once
    bool wants_all = false;             ///< decided only when every node has voted, or by the deadline
    bool wants_no = false;              ///< where no quorum can say yes, it waits for a quorum's no (R11)
    Ref<KeyRecords<TimePoint>> keys;    ///< the keys that it makes, prolongs or deletes
    std::chrono::nanoseconds lasts{0};  ///< how long they last at least, from when it runs

    /// Counts the vote of a node that need not be asked, before the round is sent.
    void settle(std::size_t node, Vote vote) {
        ballots[node].vote = vote;
        tally.count(vote);
    }

    /// For a lease, which keeps the votes and has no use for the values.
    void forget_values() noexcept {
        for (Ballot& ballot : ballots) ballot.values = {};
    }

    /// How long the keys may last from this answer on: an extension may find more left than it asked for.
    [[nodiscard]] std::chrono::nanoseconds lasting(const Answer& answer, const Options& options) const {
        std::chrono::nanoseconds longest = lasts;
        if (command.kind() != Command::Kind::extend) return longest;
        for (const std::int64_t left_ms : answer.values) {
            const std::chrono::milliseconds left{std::min<std::int64_t>(left_ms, longest_ttl.count())};
            longest = std::max<std::chrono::nanoseconds>(longest, left + drift_of(left, options));
        }
        return longest;
    }

    [[nodiscard]] const CommandTraits& traits() const noexcept { return traits_of(command.kind()); }

    /// Whether it would make keys whose release is on the way, or that are another's to release.
    [[nodiscard]] bool is_unwanted() const noexcept {
        return traits().makes_keys && (!keys || keys->is_unwanted);
    }

    /// Whether a reply may have something else sent though the round is decided: the script's text, or the
    /// release once more.
    [[nodiscard]] bool may_need_more() const noexcept {
        return command.script() != nullptr && (traits().may_run_late || traits().makes_keys);
    }
};

}  // namespace redlock::inline v0_1::detail

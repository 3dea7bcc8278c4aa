// SPDX-License-Identifier: Apache-2.0
// The rounds of the algorithm: for each of its steps the command, the deadline, and what the round needs.
#pragma once

#include <algorithm>
#include <array>
#include <chrono>
#include <cstddef>
#include <string>
#include <utility>
#include <vector>

#include "redlock/algorithm/fences.hpp"
#include "redlock/algorithm/lease.hpp"
#include "redlock/engine/engine.hpp"
#include "redlock/options.hpp"
#include "redlock/result.hpp"
#include "redlock/system/ref.hpp"
#include "redlock/token.hpp"
#include "redlock/voting/command.hpp"
#include "redlock/voting/quorum.hpp"

namespace redlock::inline v0_1::detail {

/// When an attempt must be over, and how long it took.
template <class TimePoint>
struct AttemptTiming {
    TimePoint latest;      ///< by then it is decided, unless connections had to be made first
    TimePoint connect_by;  ///< until then it waits for connections; the time to `latest` begins after that
    std::chrono::nanoseconds took{0};
};

/// Whether a node has no key of the lease: it said so to the extension or, too late for it, to the one
/// before.
[[nodiscard]] inline bool lacks_key(const std::vector<Ballot>& extension, const Votes* before,
                                    std::size_t node) noexcept {
    const Vote vote = extension[node].vote;
    if (vote == Vote::pending) return before != nullptr && before->ballots[node].vote == Vote::absent;
    return vote == Vote::absent;
}

/// Thread-safe, but for reports().
template <class Transport, class Clock>
class RoundFactory {
   public:
    using EngineType = Engine<Transport, Clock>;
    using TimePoint = typename Clock::time_point;
    using RoundPtr = typename EngineType::RoundPtr;
    using LeaseType = Lease<TimePoint>;
    using KeyRecordsPtr = Ref<KeyRecords<TimePoint>>;

    explicit RoundFactory(EngineType& engine) : engine_{engine} {}

    [[nodiscard]] TimePoint end_of(TimePoint started) const {
        return started + engine_.options().node_timeout;
    }

    /// A new one for every attempt: the late release of one must not free another.
    [[nodiscard]] Token fresh_token() const {
        std::array<unsigned char, Token::byte_count> bytes{};  // [6]
        engine_.transport().random(bytes);
        return Token{bytes};
    }

    void note_fences(const Fences& fences) noexcept { highest_fence_.note(fences); }

    /// Put off where connections are worth waiting for.
    [[nodiscard]] RoundPtr acquire(const Claim& claim, const Token& token, std::chrono::milliseconds ttl,
                                   const AttemptTiming<TimePoint>& timing) const {
        const Options& options = engine_.options();
        const TimePoint started = engine_.now();  // [8] before the first byte is sent
        const Fences proposals = proposals_for(claim);
        const auto limit =
            std::min<std::chrono::nanoseconds>(options.node_timeout, validity_of(ttl, {}, options));
        RoundPtr round = engine_.make_round(acquire_command(claim, token, ttl, options.fence_ttl, proposals),
                                            started, first_of(started + limit, timing.latest));
        round->lasts = ttl + drift_of(ttl, options);
        round->keys = new_records();
        if (started < timing.connect_by) round->unconnected = Unconnected::is_put_off;
        return round;
    }

    /// Writes values that no counter is above back to the nodes that granted smaller ones. It is part of the
    /// attempt, and has the same deadline.
    [[nodiscard]] RoundPtr commit(const Claim& claim, const Token& token, const Round<TimePoint>& granted,
                                  const Fences& fences, bool above = false) const {
        Command command = commit_command(claim, token, engine_.options().fence_ttl, fences, above);
        RoundPtr commit = engine_.make_round(std::move(command), granted.started, granted.deadline);
        for (std::size_t i = 0; i < granted.ballots.size(); ++i) {
            Ballot known = known_commit_vote(granted.ballots[i], fences);
            if (known.vote == Vote::pending) continue;
            commit->settle(i, known.vote);
            commit->ballots[i] = std::move(known);
        }
        return commit;
    }

    [[nodiscard]] RoundPtr extend(const LeaseType& lease, const Extension<TimePoint>& extension) const {
        RoundPtr round = hold(Command::Kind::extend, lease, extension.ttl, extension.is_sooner);
        round->deadline = first_of(extension.latest, extension.until);
        round->wants_no = true;
        return round;
    }

    /// For the nodes that lack the key while a quorum holds it, as that quorum has just said. `before`: the
    /// votes on the extension before, if there was one. Null: no node lacks it.
    [[nodiscard]] RoundPtr put_back(const LeaseType& lease, const Round<TimePoint>& extension,
                                    const Votes* before, std::chrono::milliseconds ttl) const {
        RoundPtr round;
        for (std::size_t i = 0; i < engine_.size(); ++i) {
            if (round || !lacks_key(extension.ballots, before, i)) continue;
            round = hold(Command::Kind::put_back, lease, ttl, false);
        }
        for (std::size_t i = 0; round && i < engine_.size(); ++i) {
            if (!lacks_key(extension.ballots, before, i)) round->settle(i, Vote::denied);
        }
        return round;
    }

    [[nodiscard]] RoundPtr release(const Claim& claim, const Token& token, KeyRecordsPtr keys,
                                   TimePoint started) const {
        RoundPtr round = engine_.make_round(release_command(claim, token), started, end_of(started));
        round->keys = std::move(keys);
        return round;
    }

    /// Of a token that another held: new fencing tokens for it.
    [[nodiscard]] RoundPtr adopt(const Claim& claim, const Token& token) const {
        const TimePoint started = engine_.now();
        const Fences proposals = proposals_for(claim);
        return engine_.make_round(adopt_command(claim, token, engine_.options().fence_ttl, proposals),
                                  started, end_of(started));
    }

    /// Of a token that another held: its first extension here.
    [[nodiscard]] RoundPtr extend_adopted(const Claim& claim, const Token& token,
                                          std::chrono::milliseconds ttl, const Fences& fences) const {
        const Options& options = engine_.options();
        const TimePoint started = engine_.now();
        RoundPtr round = engine_.make_round(
            hold_command(Command::Kind::extend, claim, token, ttl, options.fence_ttl, fences), started,
            end_of(started));
        round->wants_no = true;
        round->lasts = ttl + drift_of(ttl, options);
        round->keys = new_records();
        return round;
    }

    [[nodiscard]] RoundPtr peek(const std::string& resource) const {
        const std::string counter = fence_key(resource, engine_.options().fence_suffix);
        const TimePoint started = engine_.now();
        RoundPtr round =
            engine_.make_round(peek_command({&resource, 1}, {&counter, 1}), started, end_of(started));
        round->wants_all = true;
        return round;
    }

    /// What each node said in a round, as of now. In the driver's turn only.
    [[nodiscard]] std::vector<NodeReport> reports(const std::vector<Ballot>& ballots) const {
        std::vector<NodeReport> list(engine_.size());
        for (std::size_t i = 0; i < list.size(); ++i) {
            const Ballot& ballot = ballots[i];
            list[i] = {std::string{engine_.transport().endpoint(i)}, ballot.vote, ballot.text,
                       ballot.latency};
        }
        return list;
    }

   private:
    [[nodiscard]] RoundPtr hold(Command::Kind kind, const LeaseType& lease, std::chrono::milliseconds ttl,
                                bool exactly) const {
        Command command = hold_command(kind, *lease.claim, lease.token, ttl, engine_.options().fence_ttl,
                                       lease.fences, exactly);
        RoundPtr round = engine_.make_round(std::move(command), engine_.now(), TimePoint{});
        round->keys = lease.keys;
        round->lasts = ttl + drift_of(ttl, engine_.options());
        return round;
    }

    [[nodiscard]] Fences proposals_for(const Claim& claim) const {
        return Fences(claim.counters.size(), highest_fence_.proposal(engine_.wall_us()));
    }

    [[nodiscard]] KeyRecordsPtr new_records() const {
        return make_ref<KeyRecords<TimePoint>>(engine_.size());
    }

    EngineType& engine_;
    HighestFence highest_fence_;
};

}  // namespace redlock::inline v0_1::detail

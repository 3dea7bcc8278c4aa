// SPDX-License-Identifier: Apache-2.0
// Fencing tokens: what one client proposes, and what a quorum agrees on.
//
// The clock gives the speed, the counters give the safety: any number is a correct proposal.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "redlock/engine/round.hpp"
#include "redlock/voting/quorum.hpp"

namespace redlock::inline v0_1::detail {

/// One per resource, in the order of the claim; empty without fencing.
using Fences = std::vector<std::int64_t>;

/// The largest fencing token that this client has had. Thread-safe.
class HighestFence {
   public:
    [[nodiscard]] std::int64_t proposal(std::int64_t wall_us) const noexcept {
        return std::max(wall_us, highest_.load(std::memory_order_relaxed) + 1);
    }

    void note(const Fences& fences) noexcept {
        for (const std::int64_t fence : fences) {
            std::int64_t known = highest_.load(std::memory_order_relaxed);
            while (known < fence && !highest_.compare_exchange_weak(known, fence)) {
            }
        }
    }

   private:
    std::atomic<std::int64_t> highest_{0};
};

[[nodiscard]] inline bool gave_fences(const Ballot& ballot, std::size_t count) noexcept {
    return ballot.vote == Vote::granted && ballot.values.size() == count;
}

/// How many nodes gave this value for the resource with this index.
[[nodiscard]] inline std::size_t count_of_fence(const std::vector<Ballot>& ballots, std::size_t count,
                                                std::size_t resource, std::int64_t fence) noexcept {
    std::size_t same = 0;
    for (const Ballot& ballot : ballots) {
        if (gave_fences(ballot, count) && ballot.values[resource] == fence) ++same;
    }
    return same;
}

/// For each resource the value that a quorum gave; empty where no quorum gave one for some resource.
[[nodiscard]] inline Fences agreed_fences(const std::vector<Ballot>& ballots, std::size_t count) {
    Fences agreed;
    for (std::size_t r = 0; r < count; ++r) {
        for (const Ballot& candidate : ballots) {
            if (!gave_fences(candidate, count)) continue;
            const std::size_t same = count_of_fence(ballots, count, r, candidate.values[r]);
            if (same < quorum_of(ballots.size())) continue;
            agreed.push_back(candidate.values[r]);
            break;
        }
    }
    if (agreed.size() != count) agreed.clear();
    return agreed;
}

[[nodiscard]] inline Fences largest_fences(const std::vector<Ballot>& ballots, std::size_t count) {
    Fences largest(count, 0);
    for (const Ballot& ballot : ballots) {
        if (!gave_fences(ballot, count)) continue;
        for (std::size_t r = 0; r < count; ++r) largest[r] = std::max(largest[r], ballot.values[r]);
    }
    return largest;
}

/// The vote of a node on the commit of these values, where it follows from what the node granted before;
/// pending: the node must be asked.
[[nodiscard]] inline Ballot known_commit_vote(const Ballot& granted, const Fences& fences) {
    Ballot known;
    if (!gave_fences(granted, fences.size())) {
        known.vote = granted.vote == Vote::pending ? Vote::timeout : granted.vote;
        known.text = granted.text;
        known.values = granted.values;
        known.latency = granted.latency;
    } else if (granted.values == fences) {
        known.vote = Vote::granted;
        known.latency = granted.latency;
    }
    return known;
}

}  // namespace redlock::inline v0_1::detail

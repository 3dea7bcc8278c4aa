// SPDX-License-Identifier: Apache-2.0
// What the nodes say to one who lines up: until when it is held, by whom, and how many are before it.
#pragma once

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "redlock/engine/round.hpp"
#include "redlock/result.hpp"

namespace redlock::inline v0_1::detail {

struct QueueReport {
    std::chrono::nanoseconds free_in{0};  ///< when a quorum of the nodes is free, unless the holder extends
    std::int64_t rank = 0;                ///< how many are before it
    std::vector<std::int64_t> holders;    ///< who holds it there, by node; -1: it did not say
};

/// `longest`: a node that does not say when it is free is taken to be so then, and none later.
template <class TimePoint>
[[nodiscard]] QueueReport queue_report_of(const Round<TimePoint>& round, std::chrono::milliseconds longest) {
    QueueReport report;
    std::vector<std::int64_t> lefts;
    std::vector<std::int64_t> ranks;
    for (const Ballot& ballot : round.ballots) {
        const bool is_held = ballot.vote == Vote::granted && ballot.values.size() == 3;
        report.holders.push_back(is_held ? ballot.values[2] : -1);
        if (is_held) ranks.push_back(ballot.values[1]);
        const std::int64_t left =
            is_held ? std::min<std::int64_t>(ballot.values[0], longest.count()) : longest.count();
        lefts.push_back(ballot.vote == Vote::denied ? 0 : left);
    }
    std::sort(lefts.begin(), lefts.end());
    std::sort(ranks.begin(), ranks.end());
    report.free_in = std::chrono::milliseconds{lefts[round.tally.quorum() - 1]};
    if (!ranks.empty()) report.rank = ranks[ranks.size() / 2];
    return report;
}

/// Who holds it on a quorum of the nodes; -1: nobody, as far as they say.
[[nodiscard]] inline std::int64_t holder_of(const QueueReport& report, std::size_t quorum) {
    for (const std::int64_t holder : report.holders) {
        const auto same = std::count(report.holders.begin(), report.holders.end(), holder);
        if (holder != -1 && static_cast<std::size_t>(same) >= quorum) return holder;
    }
    return -1;
}

/// Where a quorum of the nodes has another holder than before, and who looks has come no further to the
/// front. Attempts that split the votes hold nothing.
[[nodiscard]] inline bool holder_has_changed(const QueueReport& before, const QueueReport& now,
                                             std::size_t quorum) {
    if (now.rank < before.rank) return false;
    const std::int64_t old_holder = holder_of(before, quorum);
    const std::int64_t holder = holder_of(now, quorum);
    return old_holder != -1 && holder != -1 && old_holder != holder;
}

}  // namespace redlock::inline v0_1::detail

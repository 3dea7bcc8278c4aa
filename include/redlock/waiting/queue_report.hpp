// SPDX-License-Identifier: Apache-2.0
// What the nodes answer a waiter that enters their queues, and what follows from it; what a notice says.
#pragma once

#include <algorithm>
#include <charconv>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <string_view>
#include <system_error>
#include <vector>

#include "redlock/engine/round.hpp"
#include "redlock/result.hpp"

namespace redlock::inline v0_1::detail {

/// How late a timer may come.
inline constexpr std::chrono::nanoseconds timer_lateness = std::chrono::milliseconds{1};

struct QueueReport {
    std::chrono::nanoseconds free_in{0};  ///< when a quorum of the nodes is free, unless the holder extends
    std::int64_t rank = 0;                ///< how many waiters are ahead
    std::vector<std::int64_t> holders;    ///< by node, a number that identifies the holder; -1: unknown
};

/// `longest`: the time after which a node counts as free at the latest, also one that does not say when it
/// is.
[[nodiscard]] inline QueueReport queue_report_of(const std::vector<Ballot>& ballots, std::size_t quorum,
                                                 std::chrono::milliseconds longest) {
    QueueReport report;
    std::vector<std::int64_t> lefts;
    std::vector<std::int64_t> ranks;
    for (const Ballot& ballot : ballots) {
        const bool is_held = ballot.vote == Vote::granted && ballot.values.size() == 3;
        report.holders.push_back(is_held ? ballot.values[2] : -1);
        if (is_held) ranks.push_back(ballot.values[1]);
        const std::int64_t left =
            is_held ? std::min<std::int64_t>(ballot.values[0], longest.count()) : longest.count();
        lefts.push_back(ballot.vote == Vote::denied ? 0 : left);
    }
    std::sort(lefts.begin(), lefts.end());
    std::sort(ranks.begin(), ranks.end());
    report.free_in = std::chrono::milliseconds{lefts[quorum - 1]};
    if (!ranks.empty()) report.rank = ranks[ranks.size() / 2];
    return report;
}

/// The holder on a quorum of the nodes; -1: there is none, or not enough nodes say so.
[[nodiscard]] inline std::int64_t holder_of(const QueueReport& report, std::size_t quorum) noexcept {
    for (const std::int64_t holder : report.holders) {
        std::size_t agreeing = 0;
        for (const std::int64_t other : report.holders) agreeing += other == holder ? 1 : 0;
        if (holder != -1 && agreeing >= quorum) return holder;
    }
    return -1;
}

/// Whether a quorum of the nodes has another holder than before, while the waiter has not come nearer to the
/// front. Attempts that split the votes hold nothing.
[[nodiscard]] inline bool holder_has_changed(const QueueReport& before, const QueueReport& now,
                                             std::size_t quorum) noexcept {
    if (now.rank < before.rank) return false;
    const std::int64_t old_holder = holder_of(before, quorum);
    const std::int64_t holder = holder_of(now, quorum);
    return old_holder != -1 && holder != -1 && old_holder != holder;
}

/// How long after it entered the queues a waiter tries again because the lease ends that nobody released. The
/// waiters do so one after another, in the order of the queue. `round`: how long an attempt takes.
[[nodiscard]] inline std::chrono::nanoseconds delay_to_end_of_lease(const QueueReport& report,
                                                                    std::chrono::nanoseconds round) noexcept {
    constexpr std::int64_t staggered_max = 32;  // all that are further back try at the same time
    const std::int64_t ahead = std::min(report.rank, staggered_max);
    return report.free_in + 2 * timer_lateness + ahead * (round + timer_lateness);
}

/// A notice is the number by which the waiter entered the queue, a blank and more; 0: it has another form.
[[nodiscard]] inline std::uint64_t number_in_notice(std::string_view payload) noexcept {
    std::uint64_t number = 0;
    const char* end = payload.data() + payload.size();
    const auto [stop, error] = std::from_chars(payload.data(), end, number);
    return error != std::errc{} || stop == end || *stop != ' ' ? 0 : number;
}

}  // namespace redlock::inline v0_1::detail

// SPDX-License-Identifier: Apache-2.0
// What follows from the answers of the nodes to a peek at one resource.
#pragma once

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "redlock/engine/round.hpp"
#include "redlock/inspect.hpp"
#include "redlock/options.hpp"
#include "redlock/result.hpp"
#include "redlock/token.hpp"
#include "redlock/voting/quorum.hpp"

namespace redlock::inline v0_1::detail {

/// Where the node has no key, its vote is the one it would give on an attempt, as far as that is known.
[[nodiscard]] inline Inspection::Node inspected_node(NodeReport report, const Ballot& ballot,
                                                     const Options& options) {
    Inspection::Node node{std::move(report), {}, {}, 0};
    if (ballot.values.size() != 2) return node;
    if (ballot.vote == Vote::granted) node.holder = std::exchange(node.report.detail, {});
    if (!node.holder.empty()) node.ttl = std::chrono::milliseconds{ballot.values[0]};
    const std::int64_t counter = ballot.values[1];
    node.fence = static_cast<std::uint64_t>(std::max<std::int64_t>(0, counter));
    if (ballot.vote != Vote::granted || (counter >= 0 && node.fence < fencing_token_max)) return node;
    node.report.detail = "its fencing counter is no number, or has no room below 2^53";
    if (node.holder.empty() && options.fencing) node.report.vote = Vote::refused;
    return node;
}

/// The ttls on the nodes that answered and have this holder; where it is empty, on those without a key.
[[nodiscard]] inline std::vector<std::chrono::milliseconds> ttls_of(
    const std::vector<Inspection::Node>& nodes, const std::string& holder) {
    std::vector<std::chrono::milliseconds> ttls;
    for (const Inspection::Node& node : nodes) {
        if (node.report.vote != Vote::granted || node.holder != holder) continue;
        ttls.push_back(node.ttl.count() < 0 ? forever : node.ttl);
    }
    return ttls;
}

/// Sets the state by what a quorum agrees on: one token, or none.
inline void conclude(Inspection& inspection) {
    const std::size_t quorum = quorum_of(inspection.nodes.size());
    for (const Inspection::Node& candidate : inspection.nodes) {
        if (candidate.report.vote != Vote::granted) continue;
        std::vector<std::chrono::milliseconds> ttls = ttls_of(inspection.nodes, candidate.holder);
        if (ttls.size() < quorum) continue;
        std::sort(ttls.begin(), ttls.end(), std::greater<>{});
        inspection.holder = candidate.holder;
        const bool is_free = inspection.holder.empty();
        inspection.state = is_free ? Inspection::State::available : Inspection::State::held;
        inspection.remaining = ttls[quorum - 1];
        return;
    }
}

[[nodiscard]] inline Inspection inspection_of(std::vector<NodeReport> reports,
                                              const std::vector<Ballot>& ballots, const Options& options) {
    Inspection inspection;
    for (std::size_t i = 0; i < reports.size(); ++i) {
        inspection.nodes.push_back(inspected_node(std::move(reports[i]), ballots[i], options));
    }
    conclude(inspection);
    return inspection;
}

}  // namespace redlock::inline v0_1::detail

// SPDX-License-Identifier: Apache-2.0
// What failures say of a claim and of its nodes.
#pragma once

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "redlock/algorithm/lease.hpp"
#include "redlock/engine/round.hpp"
#include "redlock/options.hpp"
#include "redlock/result.hpp"
#include "redlock/text/printable.hpp"
#include "redlock/voting/claim.hpp"
#include "redlock/voting/quorum.hpp"

namespace redlock::inline v0_1::detail {

/// Names the first three resources of a claim, and says how many more there are.
[[nodiscard]] inline std::string describe(const Claim& claim) {
    constexpr std::size_t longest = 3;
    const std::size_t shown = std::min(claim.resources.size(), longest);
    std::string text;
    for (std::size_t i = 0; i < shown; ++i) {
        text.append(text.empty() ? "" : ", ").append(in_quotes(claim.resources[i]));
    }
    const std::size_t rest = claim.resources.size() - shown;
    if (rest > 0) text.append(" and ").append(std::to_string(rest)).append(" more");
    return text;
}

/// The failure of an attempt: says which resource another holds, and for how long.
[[nodiscard]] inline Failure attempt_failure(errc reason, const Claim& claim,
                                             const std::vector<Ballot>& ballots,
                                             std::vector<NodeReport> nodes) {
    std::string what = describe(claim);
    std::int64_t remaining_ms = -1;  // no node has said
    bool is_endless = false;
    for (std::size_t i = 0; i < nodes.size(); ++i) {
        const Ballot& ballot = ballots[i];
        if (ballot.vote != Vote::denied || ballot.values.size() != 2) continue;
        if (ballot.values[1] < 0) {  // as PTTL says it
            is_endless = true;
            nodes[i].detail = "the key there has no ttl: it stays until somebody deletes it";
        }
        remaining_ms = std::max({remaining_ms, ballot.values[1], std::int64_t{0}});
        const auto index = static_cast<std::size_t>(ballot.values[0]);
        if (claim.resources.size() > 1 && index >= 1 && index <= claim.resources.size()) {
            what = joined({in_quotes(claim.resources[index - 1]), " of ", describe(claim)});
        }
    }
    Failure failure{reason, std::move(what), std::move(nodes)};
    failure.set_attempts(1);
    if (remaining_ms >= 0 && !is_endless) {
        failure.set_holder_remaining(std::chrono::milliseconds{remaining_ms});
    }
    return failure;
}

/// The failure of an adoption or a release: errc::lost where a quorum said no.
[[nodiscard]] inline Failure unconfirmed(const Claim& claim, const Tally& tally,
                                         std::vector<NodeReport> nodes) {
    const bool is_lost = tally.denied() >= tally.quorum();
    return Failure{is_lost ? errc::lost : errc::unknown, describe(claim), std::move(nodes)};
}

/// The failure of a call for a lease that was released before.
[[nodiscard]] inline Failure unlocked_before(const Claim& claim) {
    return Failure{errc::lost, joined({describe(claim), " was unlocked before"})};
}

/// The failure of an extension or a release of a lease that was lost before.
[[nodiscard]] inline Failure lost_before(const Claim& claim, bool was_revoked) {
    const std::string name = describe(claim);
    if (!was_revoked) return Failure{errc::lost, joined({"the validity of ", name, " had ended"})};
    return Failure{errc::lost, joined({"the nodes have said that ", name, " is not ours any more"})};
}

/// The result of an extension that was not sent: success where the lease lasts long enough already.
[[nodiscard]] inline Result<void> unsent_extension(ExtensionStart start, const Claim& claim, Hold hold,
                                                   bool was_revoked) {
    if (start == ExtensionStart::needless) return {};
    if (start == ExtensionStart::busy) {
        return Failure{errc::unknown, joined({"another extension of ", describe(claim), " took too long"})};
    }
    if (hold == Hold::released) return Failure{errc::lost, joined({describe(claim), " was given up before"})};
    return lost_before(claim, was_revoked);
}

/// Why a lease cannot have this length; nothing: it can.
[[nodiscard]] inline std::optional<Failure> ttl_failure(std::chrono::milliseconds ttl,
                                                        const Options& options) {
    using namespace std::chrono_literals;
    const auto drift = drift_of(std::clamp(ttl, 0ms, longest_ttl), options);
    if (ttl > longest_ttl) {  // and may be too long to be compared in nanoseconds
        return Failure{errc::invalid_argument,
                       joined({"the ttl is ", ttl.count(), " ms, but the longest is one year"})};
    }
    if (ttl.count() > 0 && ttl > drift) return std::nullopt;
    const auto least = std::chrono::floor<std::chrono::microseconds>(drift).count();
    return Failure{
        errc::invalid_argument,
        joined({"the ttl is ", ttl.count(), " ms, but must be more than the drift of ", least, " µs"})};
}

}  // namespace redlock::inline v0_1::detail

// SPDX-License-Identifier: Apache-2.0
// The state of a resource on the nodes, for operators and tests.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "redlock/options.hpp"
#include "redlock/result.hpp"

namespace redlock::inline v0_1 {

/// The state of one resource when the nodes were asked. It may have changed since.
struct Inspection {
    enum class State : std::uint8_t {
        available,  ///< a quorum has no key and would vote on an attempt: one would have been granted
        held,       ///< a quorum has one and the same token
        undecided,  ///< neither: too few answered or would vote, or the votes are split
    };

    /// One node's answer.
    struct Node {
        /// granted: it answered. A node that has no key but would not grant an attempt has the vote that it
        /// would give: quarantined, or, with fencing on, refused where its counter gives no token. Its detail
        /// says why.
        NodeReport report;
        std::string holder;                ///< a short digest of the token there; empty: no key
        std::chrono::milliseconds ttl{0};  ///< what is left of the key there; below 0: it never expires
        std::uint64_t fence = 0;           ///< the fencing counter there; 0: none of ours
    };

    State state = State::undecided;
    std::string holder;  ///< the digest that a quorum agrees on; empty unless held
    /// For how long a quorum will still have that token; redlock::forever: until somebody deletes it, since
    /// the keys on a quorum have no ttl. 0 unless held.
    std::chrono::milliseconds remaining{0};
    std::vector<Node> nodes;  ///< in the order of the configuration
};

[[nodiscard]] constexpr std::string_view to_string(Inspection::State state) noexcept {
    switch (state) {
        case Inspection::State::available: return "available";
        case Inspection::State::held: return "held";
        case Inspection::State::undecided: return "undecided";
    }
    return "unspecified";
}

}  // namespace redlock::inline v0_1

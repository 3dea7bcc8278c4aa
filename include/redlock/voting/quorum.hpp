// SPDX-License-Identifier: Apache-2.0
// How votes are counted and how long a lease is good for. Pure functions and one small class.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>

#include "redlock/options.hpp"
#include "redlock/result.hpp"

namespace redlock::inline v0_1::detail {

/// A majority of the configured nodes: any two quorums share a node.
[[nodiscard]] constexpr std::size_t quorum_of(std::size_t node_count) noexcept { return node_count / 2 + 1; }

/// No lease is longer.
inline constexpr std::chrono::milliseconds longest_ttl = std::chrono::hours{8'760};

/// What is given up of a ttl because the nodes' clocks and ours may run at different speeds.
[[nodiscard]] inline std::chrono::nanoseconds drift_of(std::chrono::milliseconds ttl,
                                                       const Options& options) noexcept {
    const std::chrono::nanoseconds exact = ttl;
    const double part = static_cast<double>(exact.count()) * options.drift_factor;
    return std::chrono::nanoseconds{static_cast<std::int64_t>(part) + 1} + options.drift_floor;
}

/// validity = ttl − elapsed − drift, where elapsed began before the first byte was sent.
[[nodiscard]] inline std::chrono::nanoseconds validity_of(std::chrono::milliseconds ttl,
                                                          std::chrono::nanoseconds elapsed,
                                                          const Options& options) noexcept {
    return ttl - elapsed - drift_of(ttl, options);
}

/// The votes of one round, counted as they come.
class Tally {
   public:
    enum class Decision : std::uint8_t { open, carried, impossible };

    explicit constexpr Tally(std::size_t node_count) noexcept
        : pending_{node_count}, quorum_{quorum_of(node_count)} {}

    constexpr void count(Vote vote) noexcept {
        --pending_;
        if (vote == Vote::granted) ++granted_;
        if (vote == Vote::denied || vote == Vote::absent) ++denied_;
    }

    /// Carried as soon as a quorum granted; impossible as soon as it cannot any more.
    [[nodiscard]] constexpr Decision decision() const noexcept {
        if (granted_ >= quorum_) return Decision::carried;
        if (granted_ + pending_ < quorum_) return Decision::impossible;
        return Decision::open;
    }

    /// Whether a quorum has not said no yet, and still can.
    [[nodiscard]] constexpr bool may_be_denied() const noexcept {
        return denied_ < quorum_ && denied_ + pending_ >= quorum_;
    }

    [[nodiscard]] constexpr std::size_t granted() const noexcept { return granted_; }
    [[nodiscard]] constexpr std::size_t denied() const noexcept { return denied_; }
    [[nodiscard]] constexpr std::size_t pending() const noexcept { return pending_; }
    [[nodiscard]] constexpr std::size_t quorum() const noexcept { return quorum_; }

    /// Why a round that was not carried failed: another has what a working quorum could have given, or
    /// there is no working quorum.
    [[nodiscard]] constexpr errc reason() const noexcept {
        return denied_ > 0 && granted_ + denied_ + pending_ >= quorum_ ? errc::contended : errc::unreachable;
    }

   private:
    std::size_t pending_;
    std::size_t granted_ = 0;
    std::size_t denied_ = 0;
    std::size_t quorum_;
};

}  // namespace redlock::inline v0_1::detail

// SPDX-License-Identifier: Apache-2.0
// How long a call goes on trying, and how long it waits between two attempts.
#pragma once

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <optional>
#include <vector>

#include "redlock/options.hpp"
#include "redlock/result.hpp"

namespace redlock::inline v0_1::detail {

/// The longest wait that is counted, so that adding it to a point in time cannot overflow.
inline constexpr std::chrono::milliseconds ages = std::chrono::hours{24 * 365 * 100};

/// The time that a call which waits may take.
template <class TimePoint>
struct TimeBudget {
    TimePoint began;
    std::chrono::nanoseconds wait;
    std::chrono::nanoseconds node_timeout;
    std::chrono::nanoseconds connect_timeout;

    /// Until when attempts wait for connections.
    [[nodiscard]] TimePoint connect_by() const { return began + std::min(connect_timeout, wait); }

    /// Attempts end by then; the first has a node_timeout in any case.
    [[nodiscard]] TimePoint end() const { return began + std::max(wait, node_timeout); }

    /// From then on no further attempt begins.
    [[nodiscard]] bool is_over(TimePoint now) const { return (now - (began + wait)).count() >= 0; }

    /// An attempt that begins later could hardly succeed within the wait. `round`: how long the nodes take to
    /// answer an attempt; 0 where that is not known.
    [[nodiscard]] TimePoint last_start(std::chrono::nanoseconds round) const {
        constexpr std::chrono::nanoseconds least = std::chrono::milliseconds{1};
        return began + (wait - std::min(node_timeout, 2 * round + least));
    }

    /// When the next attempt begins after a delay; none: the wait is over by then.
    [[nodiscard]] std::optional<TimePoint> next_attempt(std::chrono::nanoseconds delay,
                                                        std::chrono::nanoseconds round, TimePoint now) const {
        const std::chrono::nanoseconds left = -(now - last_start(round));
        if (left.count() <= 0) return std::nullopt;
        return now + std::min(delay, left);
    }
};

/// Whether another attempt may follow. `attempts` have failed, the last of them with `failure`.
[[nodiscard]] inline bool may_retry(const RetryPolicy& retry, const Failure& failure,
                                    std::uint32_t attempts) noexcept {
    if (failure == errc::cancelled || failure == errc::invalid_argument) return false;
    return retry.max_attempts == 0 || attempts < retry.max_attempts;
}

/// [15] [16] Full jitter: a fraction, from 0 to 1, of a bound that grows from well above one round.
[[nodiscard]] inline std::chrono::nanoseconds delay_after(std::uint32_t attempts, const RetryPolicy& retry,
                                                          std::chrono::nanoseconds round, double fraction) {
    const auto cap = static_cast<double>(std::chrono::nanoseconds{retry.cap}.count());
    double bound = static_cast<double>(std::max<std::chrono::nanoseconds>(retry.base, 2 * round).count());
    // Not std::pow: <cmath> is long, and every user of the header would compile it.
    for (std::uint32_t i = 1; i < attempts && bound < cap; ++i) bound *= retry.multiplier;
    bound = std::min(bound, cap);
    return std::chrono::nanoseconds{static_cast<std::int64_t>(bound * fraction)};
}

/// The same by the user's own policy; none: no further attempt.
[[nodiscard]] inline std::optional<std::chrono::nanoseconds> decided_delay(const RetryPolicy& retry,
                                                                           const Failure& failure,
                                                                           std::uint32_t attempts) {
    const std::optional<std::chrono::milliseconds> delay = retry.decide(attempts, failure);
    if (!delay) return std::nullopt;
    return std::clamp(*delay, std::chrono::milliseconds{0}, ages);
}

/// Whether some nodes granted an attempt and others denied it.
[[nodiscard]] inline bool is_split(const std::vector<NodeReport>& nodes) noexcept {
    bool is_granted = false;
    bool is_denied = false;
    for (const NodeReport& node : nodes) {
        is_granted = is_granted || node.vote == Vote::granted;
        is_denied = is_denied || node.vote == Vote::denied;
    }
    return is_granted && is_denied;
}

}  // namespace redlock::inline v0_1::detail

// SPDX-License-Identifier: Apache-2.0
// When to try again.
#pragma once

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdint>
#include <optional>

#include "redlock/options.hpp"
#include "redlock/result.hpp"

namespace redlock::inline v0_1::detail {

/// What no wait is longer than, so that points in time can be reckoned with.
inline constexpr std::chrono::milliseconds ages = std::chrono::hours{24 * 365 * 100};

/// The time that a call may take.
template <class TimePoint>
struct TimeBudget {
    TimePoint began;
    std::chrono::nanoseconds wait;
    std::chrono::nanoseconds node_timeout;
    std::chrono::nanoseconds connect_timeout;

    /// Until when attempts wait for connections: within the wait, where there is one.
    [[nodiscard]] TimePoint connect_by() const {
        return began + (wait.count() == 0 ? connect_timeout : std::min(connect_timeout, wait));
    }

    /// An attempt is cut short by it; the first has a node_timeout in any case.
    [[nodiscard]] TimePoint end() const { return began + std::max(wait, node_timeout); }

    /// Then no further attempt begins.
    [[nodiscard]] bool is_over(TimePoint now) const { return (now - (began + wait)).count() >= 0; }

    /// A last attempt that begins later could hardly succeed within the wait. `round`: how long one takes
    /// that a quorum answers; 0 where none has.
    [[nodiscard]] TimePoint last_start(std::chrono::nanoseconds round) const {
        constexpr std::chrono::nanoseconds least = std::chrono::milliseconds{1};
        return began + (wait - std::min(node_timeout, 2 * round + least));
    }

    /// When to try again, within the wait; none: not any more.
    [[nodiscard]] std::optional<TimePoint> next_attempt(std::optional<std::chrono::nanoseconds> delay,
                                                        std::chrono::nanoseconds round, TimePoint now) const {
        if (!delay || wait.count() == 0) return std::nullopt;
        const std::chrono::nanoseconds left = -(now - last_start(round));
        if (left.count() <= 0) return std::nullopt;
        return now + std::min(*delay, left);
    }
};

/// [15] [16] Full jitter, by a fraction that `draw()` gives; the bound grows from well above one round. None:
/// no further attempt.
template <class Draw>
[[nodiscard]] std::optional<std::chrono::nanoseconds> delay_after(const RetryPolicy& retry,
                                                                  const Failure& failure,
                                                                  std::uint32_t attempt,
                                                                  std::chrono::nanoseconds round, Draw draw) {
    if (failure == errc::cancelled || failure == errc::invalid_argument) return std::nullopt;
    if (retry.max_attempts != 0 && attempt >= retry.max_attempts) return std::nullopt;
    if (retry.decide) {
        const auto delay = retry.decide(attempt, failure);
        if (!delay) return std::nullopt;
        return std::clamp(*delay, std::chrono::milliseconds{0}, ages);
    }
    const std::chrono::nanoseconds cap = retry.cap;
    double bound = static_cast<double>(std::max<std::chrono::nanoseconds>(retry.base, 2 * round).count());
    bound *= std::pow(retry.multiplier, attempt - 1);
    bound = std::min(bound, static_cast<double>(cap.count()));
    return std::chrono::nanoseconds{static_cast<std::int64_t>(bound * draw())};
}

}  // namespace redlock::inline v0_1::detail

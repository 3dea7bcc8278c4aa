// SPDX-License-Identifier: Apache-2.0
// When a node may be tried again.
#pragma once

#include <algorithm>
#include <chrono>
#include <cstdint>

namespace redlock::inline v0_1::hiredis {

/// The delay before the next try doubles with each failure, with jitter, until a request was answered (R22).
class Backoff {
   public:
    using TimePoint = std::chrono::steady_clock::time_point;

    /// `now`: clients that were made at different times spread their tries differently.
    Backoff(std::chrono::milliseconds min, std::chrono::milliseconds max, TimePoint now)
        : min_{min}, max_{max}, jitter_{static_cast<std::uint32_t>(now.time_since_epoch().count())} {}

    /// Whether nothing has failed since a request was last answered, if one ever was.
    [[nodiscard]] bool is_clear() const noexcept { return failures_ == 0; }
    [[nodiscard]] TimePoint until() const noexcept { return until_; }
    [[nodiscard]] bool forbids(TimePoint now) const noexcept { return now < until_; }

    void clear() noexcept {
        failures_ = 0;
        until_ = {};
    }

    /// After a failure. The delay counts from `since`.
    void grow(TimePoint since) {
        constexpr unsigned doublings = 20;
        const std::int64_t longest = std::min<std::int64_t>(min_.count() << failures_, max_.count());
        failures_ = std::min(failures_ + 1, doublings);
        jitter_ = jitter_ * 1664525U + 1013904223U;  // any spread will do
        const std::int64_t shortest = (longest + 1) / 2;
        until_ = since + std::chrono::milliseconds{shortest + jitter_ % (longest - shortest + 1)};
    }

   private:
    std::chrono::milliseconds min_;
    std::chrono::milliseconds max_;
    unsigned failures_ = 0;
    std::uint32_t jitter_;
    TimePoint until_{};
};

}  // namespace redlock::inline v0_1::hiredis

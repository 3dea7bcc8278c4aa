// SPDX-License-Identifier: Apache-2.0
// True time, and the clocks of clients and nodes that all run at speeds of their own.
#pragma once

#include <chrono>
#include <compare>
#include <cstdint>

#include "redlock/core/clock.hpp"

namespace redlock::sim {

/// True time, since the world began. Nobody in the world can read it.
using Instant = std::chrono::nanoseconds;

inline constexpr Instant never = Instant::max();
/// What the wall clocks show when the world begins: some day of 2025.
inline constexpr std::int64_t epoch_us = 1'750'000'000'000'000;

/// A clock that runs fast or slow by parts per million.
struct Pace {
    std::int64_t ppm = 0;

    [[nodiscard]] std::chrono::nanoseconds at(Instant time) const noexcept {
        return time + std::chrono::nanoseconds{time.count() * ppm / 1'000'000};
    }

    /// The first instant at which the clock shows `local` or more.
    [[nodiscard]] Instant when(std::chrono::nanoseconds local) const noexcept {
        constexpr std::chrono::nanoseconds beyond = std::chrono::hours{2};
        if (local > beyond) return never;
        Instant time{local.count() * 1'000'000 / (1'000'000 + ppm)};
        while (at(time) < local) ++time;
        while (time.count() > 0 && at(time - Instant{1}) >= local) --time;
        return time;
    }
};

/// What one client's clocks show.
struct ClientTime {
    const Instant* now = nullptr;
    Pace pace;
    std::chrono::nanoseconds skipped{0};  ///< only ever set to end what is left when the world ends
    std::int64_t wall_skew_us = 0;

    [[nodiscard]] std::chrono::nanoseconds local() const noexcept { return pace.at(*now) + skipped; }
};

/// A redlock::Clock of one client.
class SimClock {
   public:
    struct time_point {
        std::chrono::nanoseconds since_start{0};

        friend constexpr std::chrono::nanoseconds operator-(time_point later, time_point earlier) noexcept {
            return later.since_start - earlier.since_start;
        }
        friend constexpr time_point operator+(time_point point, std::chrono::nanoseconds d) noexcept {
            return {point.since_start + d};
        }
        friend constexpr auto operator<=>(time_point, time_point) noexcept = default;
    };

    explicit SimClock(const ClientTime& time) : time_{&time} {}

    [[nodiscard]] time_point now() const noexcept { return {time_->local()}; }
    [[nodiscard]] std::int64_t wall_us() const noexcept {
        return epoch_us + time_->wall_skew_us + time_->local().count() / 1000;
    }

   private:
    const ClientTime* time_;
};

static_assert(Clock<SimClock>);

/// A node's wall clock, which can be set.
struct NodeTime {
    Pace pace;
    std::chrono::microseconds set_by{0};

    [[nodiscard]] std::int64_t wall_us(Instant now) const noexcept {
        return epoch_us + pace.at(now).count() / 1000 + set_by.count();
    }
};

}  // namespace redlock::sim

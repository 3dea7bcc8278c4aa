// SPDX-License-Identifier: Apache-2.0
// True time, and the clocks of clients and nodes, each of which runs at its own speed.
#pragma once

#include <algorithm>
#include <chrono>
#include <compare>
#include <cstddef>
#include <cstdint>

#include "redlock/clock.hpp"

namespace redlock::sim {

/// True time since the world began. No client and no node can read it.
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

/// A redlock::Clock of one client. A point in time is a pair of readings, as on a real machine: one of a
/// clock with a constant rate, and one of a clock that may be slewed. The time between two points is the
/// larger of the two differences.
class SimClock {
   public:
    class time_point {
       public:
        static constexpr std::size_t reading_count = 2;

        constexpr time_point() = default;
        constexpr time_point(std::chrono::nanoseconds steady, std::chrono::nanoseconds slewed) noexcept
            : steady_{steady}, slewed_{slewed} {}

        [[nodiscard]] constexpr std::chrono::nanoseconds reading(std::size_t i) const noexcept {
            return i == 0 ? steady_ : slewed_;
        }

        friend constexpr time_point earlier(time_point a, time_point b) noexcept {
            return {std::min(a.steady_, b.steady_), std::min(a.slewed_, b.slewed_)};
        }
        friend constexpr std::chrono::nanoseconds operator-(time_point later, time_point earlier) noexcept {
            return std::max(later.steady_ - earlier.steady_, later.slewed_ - earlier.slewed_);
        }
        friend constexpr time_point operator+(time_point point, std::chrono::nanoseconds d) noexcept {
            return {point.steady_ + d, point.slewed_ + d};
        }
        friend constexpr auto operator<=>(time_point, time_point) noexcept = default;

       private:
        std::chrono::nanoseconds steady_{0};
        std::chrono::nanoseconds slewed_{0};
    };

    /// What one client's clocks show.
    struct Time {
        const Instant* now = nullptr;
        Pace steady;
        Pace slewed;
        std::chrono::nanoseconds skipped{0};  ///< only ever set to end what is left when the world ends
        std::int64_t wall_skew_us = 0;

        [[nodiscard]] time_point at(Instant time) const noexcept {
            return time_point{steady.at(time), slewed.at(time)} + skipped;
        }
        /// The first instant at which the point has passed.
        [[nodiscard]] Instant when(time_point point) const noexcept {
            return std::min(steady.when(point.reading(0)), slewed.when(point.reading(1)));
        }
    };

    explicit SimClock(const Time& time) : time_{&time} {}

    [[nodiscard]] time_point now() const noexcept { return time_->at(*time_->now); }
    [[nodiscard]] std::int64_t wall_us() const noexcept {
        return epoch_us + time_->wall_skew_us + now().reading(0).count() / 1000;
    }

   private:
    const Time* time_;
};

static_assert(Clock<SimClock>);

using ClientTime = SimClock::Time;

/// A node's wall clock, which can be set.
struct NodeTime {
    Pace pace;
    std::chrono::microseconds set_by{0};

    [[nodiscard]] std::int64_t wall_us(Instant now) const noexcept {
        return epoch_us + pace.at(now).count() / 1000 + set_by.count();
    }
};

}  // namespace redlock::sim

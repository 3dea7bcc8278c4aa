// SPDX-License-Identifier: Apache-2.0
// The time that leases are measured in.
#pragma once

#include <time.h>

#include <algorithm>
#include <chrono>
#include <compare>
#include <concepts>
#include <cstddef>
#include <cstdint>

#include "redlock/version.hpp"

namespace redlock::inline v0_1 {

/// A clock gives now(). `later - earlier` is the elapsed time, rounded up where the clock cannot tell
/// exactly, and negative where `later` is to come. So `now - end >= 0` means that the end may have come,
/// which is right for what must end in time; `end - now <= 0` that it has come for certain, which is right
/// for what must not begin early.
template <class C>
concept Clock = std::copyable<C> &&
    requires(const C& clock, typename C::time_point t, std::chrono::nanoseconds d) {
    { clock.now() } -> std::same_as<typename C::time_point>;
    { clock.wall_us() } -> std::same_as<std::int64_t>;
    { t - t } -> std::convertible_to<std::chrono::nanoseconds>;
    { t + d } -> std::same_as<typename C::time_point>;
    { t < t } -> std::convertible_to<bool>;
};

/// Counts the time in which the machine is suspended, and does not trust a slewed clock: a point in time
/// is a pair of readings, CLOCK_BOOTTIME (counts suspend, is slewed by NTP) and CLOCK_MONOTONIC_RAW (is
/// not slewed, stands still in suspend), and the time between two points is the larger of the two
/// differences. Thread-safe; never blocks.
class LeaseClock {
   public:
    using duration = std::chrono::nanoseconds;
    using rep = duration::rep;
    using period = duration::period;
    static constexpr bool is_steady = true;

    class time_point {
       public:
        static constexpr std::size_t reading_count = 2;

        constexpr time_point() = default;
        constexpr time_point(duration boot, duration raw) noexcept : boot_{boot}, raw_{raw} {}

        /// A reading of one of the two clocks.
        [[nodiscard]] constexpr duration reading(std::size_t i) const noexcept {
            return i == 0 ? boot_ : raw_;
        }

        /// The point that has passed as soon as either of the two has. It may equal neither of them, since
        /// each may come first by one of the two readings.
        friend constexpr time_point earlier(time_point a, time_point b) noexcept {
            return {std::min(a.boot_, b.boot_), std::min(a.raw_, b.raw_)};
        }

        friend constexpr duration operator-(time_point later, time_point earlier) noexcept {
            return std::max(later.boot_ - earlier.boot_, later.raw_ - earlier.raw_);
        }
        friend constexpr time_point operator+(time_point point, duration d) noexcept {
            return {point.boot_ + d, point.raw_ + d};
        }
        friend constexpr time_point operator-(time_point point, duration d) noexcept {
            return {point.boot_ - d, point.raw_ - d};
        }
        friend constexpr bool operator==(time_point, time_point) noexcept = default;
        friend constexpr auto operator<=>(time_point, time_point) noexcept = default;

       private:
        duration boot_{0};
        duration raw_{0};
    };

    [[nodiscard]] static time_point now() noexcept {
#if defined(CLOCK_BOOTTIME) && defined(CLOCK_MONOTONIC_RAW)
        return {read(CLOCK_BOOTTIME), read(CLOCK_MONOTONIC_RAW)};
#else
        return {read(CLOCK_MONOTONIC), read(CLOCK_MONOTONIC)};
#endif
    }

    /// The wall clock in microseconds since 1970. It is used only as the proposal of a fencing token, for
    /// which any other number would be as correct.
    [[nodiscard]] static std::int64_t wall_us() noexcept {
        return std::chrono::duration_cast<std::chrono::microseconds>(read(CLOCK_REALTIME)).count();
    }

   private:
    static duration read(clockid_t id) noexcept {
        timespec time{};
        ::clock_gettime(id, &time);
        return std::chrono::seconds{time.tv_sec} + std::chrono::nanoseconds{time.tv_nsec};
    }
};

static_assert(Clock<LeaseClock>);

namespace detail {

/// How many readings a point in time consists of. One has passed when it has by any of them.
template <class TimePoint>
inline constexpr std::size_t reading_count = 1;
template <class TimePoint>
requires requires { TimePoint::reading_count; }
inline constexpr std::size_t reading_count<TimePoint> = TimePoint::reading_count;

template <class TimePoint>
[[nodiscard]] constexpr bool is_before(const TimePoint& a, const TimePoint& b, std::size_t reading) noexcept {
    if constexpr (reading_count<TimePoint> == 1) {
        return a < b;
    } else {
        return a.reading(reading) < b.reading(reading);
    }
}

/// The point that has passed as soon as either of the two has.
template <class TimePoint>
[[nodiscard]] constexpr TimePoint first_of(const TimePoint& a, const TimePoint& b) noexcept {
    if constexpr (reading_count<TimePoint> == 1) {
        return b < a ? b : a;
    } else {
        return earlier(a, b);
    }
}

}  // namespace detail

}  // namespace redlock::inline v0_1

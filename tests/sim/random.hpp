// SPDX-License-Identifier: Apache-2.0
// Numbers that look random and are the same for the same seed, on every compiler.
#pragma once

#include <bit>
#include <chrono>
#include <cstdint>

namespace redlock::sim {

/// One stream of numbers. Streams of one seed are independent: draws from one do not change another.
class Random {
   public:
    Random(std::uint64_t seed, std::uint64_t stream)
        : state_{mix(seed + mix(stream + 0x632BE59BD9B4E019U))} {}

    [[nodiscard]] std::uint64_t next() noexcept {
        state_ += 0x9E3779B97F4A7C15U;
        return mix(state_);
    }

    /// From zero to `bound` - 1.
    [[nodiscard]] std::uint64_t below(std::uint64_t bound) noexcept { return next() % bound; }

    [[nodiscard]] std::int64_t between(std::int64_t low, std::int64_t high) noexcept {
        return low + static_cast<std::int64_t>(below(static_cast<std::uint64_t>(high - low) + 1));
    }

    [[nodiscard]] bool chance(unsigned percent) noexcept { return below(100) < percent; }
    [[nodiscard]] bool one_in(std::uint64_t n) noexcept { return below(n) == 0; }

    /// Every order of magnitude is as likely as the others. `low` is at least 1.
    [[nodiscard]] std::int64_t spread(std::int64_t low, std::int64_t high) noexcept {
        const auto bits = [](std::int64_t n) {
            return static_cast<std::int64_t>(std::bit_width(static_cast<std::uint64_t>(n))) - 1;
        };
        const std::int64_t power = std::int64_t{1} << between(bits(low), bits(high));
        const std::int64_t value = between(power, 2 * power - 1);
        return value < low ? low : value > high ? high : value;
    }

    template <class Duration>
    requires requires(Duration d) { d.count(); }
    [[nodiscard]] Duration between(Duration low, Duration high) noexcept {
        return Duration{between(std::int64_t{low.count()}, std::int64_t{high.count()})};
    }
    template <class Duration>
    requires requires(Duration d) { d.count(); }
    [[nodiscard]] Duration spread(Duration low, Duration high) noexcept {
        return Duration{spread(std::int64_t{low.count()}, std::int64_t{high.count()})};
    }

   private:
    [[nodiscard]] static constexpr std::uint64_t mix(std::uint64_t z) noexcept {
        z = (z ^ (z >> 30U)) * 0xBF58476D1CE4E5B9U;
        z = (z ^ (z >> 27U)) * 0x94D049BB133111EBU;
        return z ^ (z >> 31U);
    }

    std::uint64_t state_;
};

}  // namespace redlock::sim

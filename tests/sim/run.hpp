// SPDX-License-Identifier: Apache-2.0
// Runs schedules, many or one, and shrinks a failing one.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "sim/outcome.hpp"
#include "sim/plan.hpp"

namespace redlock::sim {

[[nodiscard]] Plan plan_of(std::uint64_t seed, Broken broken, Depth depth = Depth::messages);

[[nodiscard]] Outcome run(const Plan& plan, bool is_told = false);
/// One of depth `streams`.
[[nodiscard]] Outcome run_on_streams(const Plan& plan, bool is_told);

struct Seeds {
    std::uint64_t first = 1;
    std::uint64_t count = 1;
};

/// The results of many schedules.
struct Totals {
    std::size_t schedules = 0;
    std::size_t events = 0;
    std::size_t acquired = 0;
    std::array<std::size_t, Fault::kind_count> faults{};
    std::vector<std::uint64_t> overlapping;  ///< seeds where exclusion failed, with an assumption broken
    std::vector<std::uint64_t> tokens_disordered;  ///< and where fencing did, counters lost and clocks wrong
    std::optional<std::uint64_t> failing;          ///< the first seed with a violation, where it stopped
    std::optional<Violation> violation;
};

/// Runs until the first violation.
[[nodiscard]] Totals run_many(Seeds seeds, Broken broken, Depth depth = Depth::messages);

/// Takes faults, clients and operations out of a plan for as long as `still_fails` says yes.
class Shrinker {
   public:
    using StillFails = std::function<bool(const Outcome&)>;

    Shrinker(Plan plan, StillFails still_fails)
        : plan_{std::move(plan)}, still_fails_{std::move(still_fails)} {}

    [[nodiscard]] Plan shrink();

   private:
    /// In halves, quarters and so on down to single ones.
    bool drop_faults();

    [[nodiscard]] bool has_drift() const;

    bool try_with(const std::function<void(Plan&)>& change);

    Plan plan_;
    StillFails still_fails_;
};

/// The smallest plan found that breaks the same property.
[[nodiscard]] Plan shrink(Plan plan, Property property);

}  // namespace redlock::sim

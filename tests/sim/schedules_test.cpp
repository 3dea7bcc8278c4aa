// SPDX-License-Identifier: Apache-2.0
// Many schedules, of which none may violate a property; and some where an assumption is broken on purpose.
#include <gtest/gtest.h>

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <sstream>
#include <string>

#include "sim/run.hpp"
#include "support/seed.hpp"

namespace {

using namespace redlock::sim;

std::string story_of(const Totals& totals, Broken broken) {
    if (!totals.violation) return {};
    const Plan smallest = shrink(plan_of(*totals.failing, broken), totals.violation->property);
    std::ostringstream story;
    story << "seed " << *totals.failing << " violates (" << static_cast<char>(totals.violation->property)
          << "): " << totals.violation->what << "\nredlock_simulator --seed " << *totals.failing
          << " --shrink prints:\n"
          << run(smallest, true).timeline;
    return story.str();
}

// ---- what CI runs: 20,000 schedules, in parts so that they run side by side -------------------------------

class Schedules : public testing::TestWithParam<std::uint64_t> {};

TEST_P(Schedules, none_of_2000_violates_a_property) {
    const Totals totals = run_many({1 + GetParam() * 2000, 2000}, Broken::none);
    EXPECT_FALSE(totals.violation) << story_of(totals, Broken::none);
    EXPECT_TRUE(totals.overlapping.empty());
    EXPECT_GT(totals.acquired, totals.schedules) << "they must do something";
    for (std::size_t i = 0; i < Fault::kind_count; ++i) {
        const auto kind = static_cast<Fault::Kind>(i);
        const bool is_allowed = kind != Fault::Kind::clock_forward;
        EXPECT_EQ(totals.faults[i] > 0, is_allowed) << to_string(kind);
    }
}

INSTANTIATE_TEST_SUITE_P(Part, Schedules, testing::Range(std::uint64_t{0}, std::uint64_t{10}));

// 2 million, in parts, each of which tells how far it is. Their seeds are new every time; REDLOCK_SIM_SEED
// gives the first of them, to do the same again.
class SchedulesLong : public testing::TestWithParam<std::uint64_t> {
   protected:
    static constexpr std::uint64_t count = 250'000;

    static std::uint64_t first_seed(std::uint64_t part) {
        return redlock::test::seed_from("REDLOCK_SIM_SEED") + part * count;
    }
};

TEST_P(SchedulesLong, none_of_250000_violates_a_property) {
    constexpr std::uint64_t slice = 25'000;
    const std::uint64_t first = first_seed(GetParam());
    const std::string which = std::to_string(count) + " schedules from seed " + std::to_string(first);
    SCOPED_TRACE(which);
    std::printf("%s\n", which.c_str());
    for (std::uint64_t done = 0; done < count; done += slice) {
        std::fflush(stdout);
        const Totals totals = run_many({first + done, slice}, Broken::none);
        ASSERT_FALSE(totals.violation) << story_of(totals, Broken::none);
        std::printf("%s: %s done\n", which.c_str(), std::to_string(done + slice).c_str());
    }
}

INSTANTIATE_TEST_SUITE_P(Part, SchedulesLong, testing::Range(std::uint64_t{0}, std::uint64_t{8}));

// ---- assumptions broken on purpose ------------------------------------------------------------------------

class BrokenAssumption : public testing::TestWithParam<Broken> {};

TEST_P(BrokenAssumption, costs_exclusion_and_nothing_else) {
    const Totals totals = run_many({1, 3000}, GetParam());
    EXPECT_FALSE(totals.overlapping.empty()) << "the checker of exclusion sees nothing";
    EXPECT_FALSE(totals.violation) << story_of(totals, GetParam());
}

INSTANTIATE_TEST_SUITE_P(Each, BrokenAssumption, testing::Values(Broken::drift, Broken::jump, Broken::memory),
                         [](const auto& which) {
                             return which.param == Broken::drift  ? "drift"
                                    : which.param == Broken::jump ? "jump"
                                                                  : "memory";
                         });

// ---- the simulator itself ---------------------------------------------------------------------------------

TEST(Simulator, tells_the_same_story_for_the_same_seed) {
    for (std::uint64_t seed = 1; seed <= 20; ++seed) {
        const Plan plan = plan_of(seed, Broken::none);
        const Outcome once = run(plan, true);
        const Outcome again = run(plan, true);
        EXPECT_EQ(once.timeline, again.timeline);
        EXPECT_FALSE(once.timeline.empty());
        EXPECT_EQ(run(plan, false).events, once.events) << "telling must not change what happens";
    }
}

TEST(Simulator, makes_a_failing_schedule_smaller) {
    const Totals totals = run_many({1, 3000}, Broken::memory);
    ASSERT_FALSE(totals.overlapping.empty());
    const Plan plan = plan_of(totals.overlapping.front(), Broken::memory);
    const Plan smaller = Shrinker{plan, [](const Outcome& outcome) { return outcome.overlaps > 0; }}.shrink();
    EXPECT_GT(run(smaller).overlaps, 0U);
    EXPECT_LT(smaller.faults.size(), plan.faults.size());
    EXPECT_TRUE(smaller.may_forget()) << "what made it fail stays";
}

}  // namespace

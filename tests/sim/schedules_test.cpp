// SPDX-License-Identifier: Apache-2.0
// Many schedules of both simulators, of which none may violate a property; and some where an assumption is
// broken on purpose.
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

std::string story_of(const Totals& totals, Broken broken, Depth depth = Depth::messages) {
    if (!totals.violation) return {};
    const Plan smallest = shrink(plan_of(*totals.failing, broken, depth), totals.violation->property);
    std::ostringstream story;
    story << "seed " << *totals.failing << " violates (" << static_cast<char>(totals.violation->property)
          << "): " << totals.violation->what << "\nredlock_simulator "
          << (depth == Depth::streams ? "--deep " : "") << "--seed " << *totals.failing
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
        const bool is_allowed = kind != Fault::Kind::clock_forward && !Fault::is_of_streams(kind);
        EXPECT_EQ(totals.faults[i] > 0, is_allowed) << to_string(kind);
    }
}

INSTANTIATE_TEST_SUITE_P(Part, Schedules, testing::Range(std::uint64_t{0}, std::uint64_t{10}));

class DeepSchedules : public testing::TestWithParam<std::uint64_t> {};

TEST_P(DeepSchedules, none_of_500_violates_a_property) {
    const Totals totals = run_many({1 + GetParam() * 500, 500}, Broken::none, Depth::streams);
    EXPECT_FALSE(totals.violation) << story_of(totals, Broken::none, Depth::streams);
    EXPECT_TRUE(totals.overlapping.empty());
    EXPECT_GT(totals.acquired, totals.schedules) << "they must do something";
    for (std::size_t i = 0; i < Fault::kind_count; ++i) {
        const auto kind = static_cast<Fault::Kind>(i);
        const bool is_allowed = kind != Fault::Kind::clock_forward && !Fault::is_of_messages(kind);
        EXPECT_EQ(totals.faults[i] > 0, is_allowed) << to_string(kind);
    }
}

INSTANTIATE_TEST_SUITE_P(Part, DeepSchedules, testing::Range(std::uint64_t{0}, std::uint64_t{8}));

// 2 million, in parts, each of which tells how far it is. Their seeds are new every time; REDLOCK_SIM_SEED
// gives the first of them, to do the same again.
void run_long(std::uint64_t part, std::uint64_t count, Depth depth) {
    const std::uint64_t slice = count / 10;
    const std::uint64_t first = redlock::test::seed_from("REDLOCK_SIM_SEED") + part * count;
    const std::string which = std::to_string(count) + (depth == Depth::streams ? " deep" : "") +
                              " schedules from seed " + std::to_string(first);
    SCOPED_TRACE(which);
    std::printf("%s\n", which.c_str());
    for (std::uint64_t done = 0; done < count; done += slice) {
        std::fflush(stdout);
        const Totals totals = run_many({first + done, slice}, Broken::none, depth);
        ASSERT_FALSE(totals.violation) << story_of(totals, Broken::none, depth);
        std::printf("%s: %s done\n", which.c_str(), std::to_string(done + slice).c_str());
    }
}

class SchedulesLong : public testing::TestWithParam<std::uint64_t> {};
TEST_P(SchedulesLong, none_of_250000_violates_a_property) { run_long(GetParam(), 250'000, Depth::messages); }
INSTANTIATE_TEST_SUITE_P(Part, SchedulesLong, testing::Range(std::uint64_t{0}, std::uint64_t{8}));

class DeepSchedulesLong : public testing::TestWithParam<std::uint64_t> {};
TEST_P(DeepSchedulesLong, none_of_50000_violates_a_property) { run_long(GetParam(), 50'000, Depth::streams); }
INSTANTIATE_TEST_SUITE_P(Part, DeepSchedulesLong, testing::Range(std::uint64_t{0}, std::uint64_t{4}));

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

class Simulator : public testing::TestWithParam<Depth> {};

TEST_P(Simulator, tells_the_same_story_for_the_same_seed) {
    for (std::uint64_t seed = 1; seed <= 20; ++seed) {
        const Plan plan = plan_of(seed, Broken::none, GetParam());
        const Outcome once = run(plan, true);
        const Outcome again = run(plan, true);
        EXPECT_EQ(once.timeline, again.timeline);
        EXPECT_FALSE(once.timeline.empty());
        EXPECT_EQ(run(plan, false).events, once.events) << "telling must not change what happens";
    }
}

TEST_P(Simulator, makes_a_failing_schedule_smaller) {
    const Totals totals = run_many({1, 1000}, Broken::memory, GetParam());
    ASSERT_FALSE(totals.overlapping.empty());
    const Plan plan = plan_of(totals.overlapping.front(), Broken::memory, GetParam());
    const Plan smaller = Shrinker{plan, [](const Outcome& outcome) { return outcome.overlaps > 0; }}.shrink();
    EXPECT_GT(run(smaller).overlaps, 0U);
    EXPECT_LT(smaller.faults.size(), plan.faults.size());
    EXPECT_TRUE(smaller.may_forget()) << "what made it fail stays";
}

INSTANTIATE_TEST_SUITE_P(OfBoth, Simulator, testing::Values(Depth::messages, Depth::streams),
                         [](const auto& which) {
                             return which.param == Depth::streams ? "streams" : "messages";
                         });

}  // namespace

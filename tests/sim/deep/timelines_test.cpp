// SPDX-License-Identifier: Apache-2.0
// Each scenario of connections against its timeline in timelines/. After a change that is meant to change
// timelines, run this with REDLOCK_UPDATE_TIMELINES=1 in the environment, which writes them, and read the
// diff.
#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <sstream>
#include <string>

#include "sim/deep/scenarios.hpp"
#include "sim/run.hpp"

namespace redlock::sim::deep {
namespace {

/// What it is about, and the lines until its end.
std::string timeline_of(const scenarios::Scenario& scenario) {
    const Outcome outcome = run(scenario.plan(), true);
    EXPECT_FALSE(outcome.violation) << outcome.timeline;
    std::string text{scenario.about.substr(1)};
    text.push_back('\n');
    std::istringstream lines{outcome.timeline};
    for (std::string line; std::getline(lines, line);) {
        if (std::stod(line) > static_cast<double>(scenario.until.count())) break;
        text.append(line).push_back('\n');
    }
    return text;
}

class DeepTimelines : public testing::TestWithParam<scenarios::Scenario> {};

TEST_P(DeepTimelines, are_as_in_their_files) {
    const std::string timeline = timeline_of(GetParam());
    const auto path =
        std::filesystem::path{__FILE__}.parent_path() / "timelines" / (std::string{GetParam().name} + ".txt");
    if (std::getenv("REDLOCK_UPDATE_TIMELINES") != nullptr) {
        std::ofstream{path, std::ios::binary} << timeline;
    }
    std::ifstream file{path, std::ios::binary};
    const std::string expected{std::istreambuf_iterator<char>{file}, {}};
    EXPECT_EQ(expected, timeline) << path;
}

INSTANTIATE_TEST_SUITE_P(Each, DeepTimelines, testing::ValuesIn(scenarios::all),
                         [](const auto& scenario) { return std::string{scenario.param.name}; });

}  // namespace
}  // namespace redlock::sim::deep

// SPDX-License-Identifier: Apache-2.0
// Each scenario against its timeline in timelines/. After a change that is meant to change timelines, run
// this with REDLOCK_UPDATE_TIMELINES=1 in the environment, which writes them, and read the diff.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstddef>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <string_view>
#include <vector>

#include "sim/scenarios.hpp"

namespace {

using redlock::sim::scenarios::NamedScenario;

std::filesystem::path timelines_folder() {
    return std::filesystem::path{__FILE__}.parent_path() / "timelines";
}

std::filesystem::path timeline_file(const NamedScenario& scenario) {
    return timelines_folder() / (std::string{scenario.name} + ".txt");
}

std::string text_in(const std::filesystem::path& path) {
    std::ifstream file{path, std::ios::binary};
    return {std::istreambuf_iterator<char>{file}, {}};
}

std::vector<std::string_view> lines_of(std::string_view text) {
    std::vector<std::string_view> lines;
    while (!text.empty()) {
        const std::size_t end = std::min(text.find('\n'), text.size() - 1);
        lines.push_back(text.substr(0, end));
        text.remove_prefix(end + 1);
    }
    return lines;
}

class Timelines : public testing::TestWithParam<NamedScenario> {};

TEST_P(Timelines, are_as_in_their_files) {
    const std::string timeline = GetParam().timeline();
    const std::filesystem::path path = timeline_file(GetParam());
    if (std::getenv("REDLOCK_UPDATE_TIMELINES") != nullptr) {
        std::ofstream{path, std::ios::binary} << timeline;
    }
    EXPECT_EQ(text_in(path), timeline) << path;
}

TEST_P(Timelines, are_short_enough_to_be_read) {
    const std::string text = text_in(timeline_file(GetParam()));
    const auto lines = lines_of(text);
    const auto blank = std::find(lines.begin(), lines.end(), "");
    const auto about = blank - lines.begin();
    EXPECT_TRUE(about >= 2 && about <= 4) << "it says in 2 to 4 lines what it shows, not in " << about;
    EXPECT_LE(lines.size(), 60U);
    for (const std::string_view line : lines) EXPECT_LE(line.size(), 110U) << line;
}

INSTANTIATE_TEST_SUITE_P(Each, Timelines, testing::ValuesIn(redlock::sim::scenarios::all),
                         [](const auto& scenario) { return std::string{scenario.param.name}; });

TEST(TimelineFiles, each_has_a_scenario_and_a_line_in_the_README) {
    const std::string readme = text_in(timelines_folder() / "README.md");
    for (const auto& entry : std::filesystem::directory_iterator{timelines_folder()}) {
        const std::string name = entry.path().filename().string();
        if (name == "README.md") continue;
        const auto is_its = [&](const NamedScenario& scenario) {
            return timeline_file(scenario) == entry.path();
        };
        const auto& all = redlock::sim::scenarios::all;
        EXPECT_EQ(std::count_if(all.begin(), all.end(), is_its), 1) << name;
        EXPECT_NE(readme.find("(" + name + ")"), std::string::npos) << name;
    }
}

}  // namespace

// SPDX-License-Identifier: Apache-2.0
// The README's table of errors uses the library's texts: the beginning of a message in a log is found there,
// and means what the header says.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstddef>
#include <fstream>
#include <iterator>
#include <regex>
#include <string>
#include <utility>
#include <vector>

#include "redlock/result.hpp"

namespace redlock::test {
namespace {

using NamesAndMeanings = std::vector<std::pair<std::string, std::string>>;

std::string text_of_file(const std::string& path) {
    std::ifstream file{path};
    return {std::istreambuf_iterator<char>{file}, {}};
}

std::string text_between(const std::string& text, const std::string& begin, const std::string& end) {
    const auto from = std::min(text.find(begin), text.size());
    return text.substr(from, text.find(end, from) - from);
}

NamesAndMeanings all_in(const std::string& text, const std::string& pattern) {
    NamesAndMeanings found;
    const std::regex line{pattern};
    for (auto at = std::sregex_iterator{text.begin(), text.end(), line}; at != std::sregex_iterator{}; ++at) {
        found.emplace_back((*at)[1], (*at)[2]);
    }
    return found;
}

TEST(ReadmeErrors, The_table_has_the_names_and_the_texts_of_the_header) {
    const std::string readme = text_of_file(REDLOCK_README);
    const auto shown = all_in(text_between(readme, "| `errc` |", "\n\n"), R"(\n\| `(\w+)` \| ([^|\n]+) \|)");
    const std::string root = std::string{REDLOCK_README}.substr(0, std::string{REDLOCK_README}.rfind('/'));
    const std::string header = text_of_file(root + "/include/redlock/result.hpp");
    const std::string codes = text_between(header, "enum class errc", "};");
    const auto declared = all_in(codes, R"(\n +(\w+)[^/\n]*///< ([^\n]+))");
    ASSERT_EQ(declared.size(), 8U);
    EXPECT_EQ(shown, declared);
    for (std::size_t i = 0; i < declared.size(); ++i) {
        const auto code = static_cast<errc>(i + 1);
        EXPECT_EQ(to_string(code), declared[i].first);
        EXPECT_EQ(Failure(code).message(), declared[i].first);
    }
}

TEST(ReadmeErrors, Every_vote_is_named_there) {
    const std::string readme = text_of_file(REDLOCK_README);
    const std::string votes = text_between(readme, "A node's vote is one of", "\n\n");
    for (int i = 0; i <= static_cast<int>(Vote::quarantined); ++i) {
        const std::string name = "`" + std::string{to_string(static_cast<Vote>(i))} + "`";
        EXPECT_NE(votes.find(name), std::string::npos) << name;
    }
}

}  // namespace
}  // namespace redlock::test

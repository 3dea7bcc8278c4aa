// SPDX-License-Identifier: Apache-2.0
// The text of a Handoff: parse() reads exactly what str() wrote, and refuses everything else.
#include "redlock/handoff.hpp"

#include <gtest/gtest.h>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <random>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "redlock/token.hpp"

namespace redlock::test {
namespace {

using namespace std::chrono_literals;

std::optional<Handoff> handoff_in(const std::string& text) {
    try {
        return Handoff::parse(text);
    } catch (const std::invalid_argument&) {
        return std::nullopt;
    }
}

// Any Handoff that Lock::detach() could return.
Handoff any_handoff(std::mt19937& random) {
    const auto below = [&](std::uint64_t end) {
        return std::uniform_int_distribution<std::uint64_t>{0, end - 1}(random);
    };
    const auto letters = [&](std::size_t size, unsigned first, unsigned count) {
        std::string text;
        for (; size > 0; --size) text.push_back(static_cast<char>(first + below(count)));
        return text;
    };
    Handoff handoff;
    handoff.token = Token::parse(letters(1 + below(40), '!', 94));
    handoff.remaining = std::chrono::milliseconds{below(2) == 0 ? below(20) : below(31'536'000'000)};
    const bool is_fenced = below(3) > 0;
    for (std::uint64_t count = 1 + below(3); count > 0; --count) {
        handoff.resources.push_back(below(2) == 0 ? letters(1 + below(12), ' ', 26)
                                                  : letters(1 + below(12), 0, 256));
        if (is_fenced) handoff.fencing_tokens.push_back(1 + below(below(2) == 0 ? 20 : fencing_token_max));
    }
    return handoff;
}

// One letter added, removed or changed.
std::string changed(std::string text, std::mt19937& random) {
    const std::string letters = "0123456789 :-+x";
    const char letter = letters[random() % letters.size()];
    const std::size_t at = random() % text.size();
    switch (random() % 3) {
        case 0: return text.insert(at, 1, letter);
        case 1: return text.erase(at, 1);
        default: text[at] = letter; return text;
    }
}

TEST(HandoffText, Every_handoff_is_read_back_as_it_was_written) {
    std::mt19937 random{7};
    for (int i = 0; i < 5'000; ++i) {
        const Handoff handoff = any_handoff(random);
        const auto read = handoff_in(handoff.str());
        ASSERT_TRUE(read) << handoff.str();
        ASSERT_EQ(read->resources, handoff.resources);
        ASSERT_EQ(read->token, handoff.token);
        ASSERT_EQ(read->fencing_tokens, handoff.fencing_tokens);
        ASSERT_EQ(read->remaining, handoff.remaining);
    }
}

TEST(HandoffText, Whatever_is_read_is_written_the_same_way) {
    std::mt19937 random{11};
    int count_read = 0;
    for (int i = 0; i < 20'000; ++i) {
        const std::string text = changed(any_handoff(random).str(), random);
        const auto read = handoff_in(text);
        if (!read) continue;
        ++count_read;
        ASSERT_EQ(read->str(), text);
    }
    EXPECT_GT(count_read, 1'000) << "or it shows nothing";
}

TEST(HandoffText, A_number_is_written_in_one_way_only) {
    EXPECT_TRUE(handoff_in("redlock1 token 0 7 4:name"));
    EXPECT_TRUE(handoff_in("redlock1 token 5 0 4:name"));
    for (const std::string text :
         {"redlock1 token 05 7 4:name", "redlock1 token 00 7 4:name", "redlock1 token 5 07 4:name",
          "redlock1 token 5 00 4:name", "redlock1 token 5 7 04:name"}) {
        EXPECT_FALSE(handoff_in(text)) << text;
    }
}

TEST(HandoffText, Every_resource_has_a_fencing_token_or_none_has) {
    EXPECT_TRUE(handoff_in("redlock1 token 5 7 1:a 8 1:b"));
    EXPECT_TRUE(handoff_in("redlock1 token 5 0 1:a 0 1:b"));
    EXPECT_FALSE(handoff_in("redlock1 token 5 0 1:a 8 1:b"));
    EXPECT_FALSE(handoff_in("redlock1 token 5 7 1:a 0 1:b"));
    EXPECT_TRUE(handoff_in("redlock1 token 5 " + std::to_string(fencing_token_max) + " 1:a"));
    EXPECT_FALSE(handoff_in("redlock1 token 5 " + std::to_string(fencing_token_max + 1) + " 1:a"));
}

TEST(HandoffText, Is_read_back_as_it_was_written) {
    const auto token = Token::parse("token");
    const std::string odd{"a 1:b\0\n", 7};
    for (const Handoff& handoff : {Handoff{{"a"}, token, {7}, 5ms}, Handoff{{"a", odd}, token, {1, 2}, 0ms},
                                   Handoff{{odd, "b"}, token, {}, 86'400'000ms}}) {
        const Handoff read = Handoff::parse(handoff.str());
        EXPECT_EQ(read.resources, handoff.resources);
        EXPECT_EQ(read.token, handoff.token);
        EXPECT_EQ(read.fencing_tokens, handoff.fencing_tokens);
        EXPECT_EQ(read.remaining, handoff.remaining);
    }
}

TEST(HandoffText, Anything_else_is_refused) {
    const std::string good = Handoff{{"name", "b"}, Token::parse("token"), {7, 8}, 5ms}.str();
    ASSERT_EQ(good, "redlock1 token 5 7 4:name 8 1:b");
    for (std::size_t size = 0; size < good.size(); ++size) {
        const auto part = good.substr(0, size);
        if (part == "redlock1 token 5 7 4:name") continue;
        EXPECT_THROW(static_cast<void>(Handoff::parse(part)), std::invalid_argument) << part;
    }
    for (const std::string text :
         {"redlock2 token 5 7 4:name", "redlock1  5 7 4:name", "redlock1 token -5 7 4:name",
          "redlock1 token 5 x 4:name", "redlock1 token 5 7 5:name", "redlock1 token 5 7 0:",
          "redlock1 token 5 7 4:name ", "redlock1 token 5 7 4:namex", "redlock1 token 5 7 3:name",
          "redlock1 token 5 7 18446744073709551615:name", "redlock1 token 5 99999999999999999999 4:name",
          "redlock1 to\tken 5 7 4:name", "redlock1 token 5  4:name", " redlock1 token 5 7 4:name",
          "redlock1 token 5 9007199254740993 4:name", "redlock1 token 5 7 +4:name",
          "redlock1 token 5 7 4:name\n"}) {
        EXPECT_THROW(static_cast<void>(Handoff::parse(text)), std::invalid_argument) << text;
    }
    EXPECT_THROW(static_cast<void>(Handoff::parse(Handoff{}.str())), std::invalid_argument);
}

// Its message was once that for a bad token.
TEST(HandoffText, That_of_an_empty_one_is_refused_as_such) {
    try {
        static_cast<void>(Handoff::parse(Handoff{}.str()));
        ADD_FAILURE() << "it was read";
    } catch (const std::invalid_argument& refusal) {
        EXPECT_NE(std::string{refusal.what()}.find("empty Handoff"), std::string::npos) << refusal.what();
    }
}

}  // namespace
}  // namespace redlock::test

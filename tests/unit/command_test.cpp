// SPDX-License-Identifier: Apache-2.0
// The requests to a node, byte by byte.
#include <gtest/gtest.h>

#include <cstddef>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "redlock/voting/command.hpp"
#include "unit/memory_node.hpp"

namespace redlock::detail {
namespace {

using namespace std::chrono_literals;
using test::Request;
using test::words_of;

const Token some_token = Token::parse("0123456789abcdef0123456789abcdef01234567");
const Claim plain{{"orders/42"}, {}};
const Claim fenced{{"orders/42"}, {"{orders/42}:redlock-fence"}};
const Claim two{{"a", "b"}, {}};
const Claim two_fenced{{"a", "b"}, {"{a}:redlock-fence", "{b}:redlock-fence"}};

std::string name_of(const Script& script) { return std::string{sha1_of(script)}; }

TEST(Command, a_plain_acquire_is_set_nx_px) {
    const Command command = acquire_command(plain, some_token, 10s, 24h, {});
    EXPECT_EQ(command.bytes(),
              "*6\r\n$3\r\nSET\r\n$9\r\norders/42\r\n$40\r\n0123456789abcdef0123456789abcdef01234567\r\n"
              "$2\r\nNX\r\n$2\r\nPX\r\n$5\r\n10000\r\n");
    EXPECT_EQ(command.kind(), Command::Kind::acquire);
    EXPECT_EQ(command.script(), nullptr);
}

TEST(Command, a_name_goes_out_as_it_is) {
    const std::string name{"a\0b\r\n$5\r\nx", 11};
    const Command command = acquire_command({{name}, {}}, some_token, 10s, 24h, {});
    EXPECT_EQ(words_of(command.bytes()).at(1), name);
    EXPECT_NE(command.bytes().find("$11\r\n" + name + "\r\n"), std::string::npos);
    const std::string large(1U << 20U, 'x');
    EXPECT_EQ(words_of(acquire_command({{large}, {}}, some_token, 10s, 24h, {}).bytes()).at(1), large);
}

TEST(Command, a_fenced_acquire_is_a_script_with_resource_and_counter_as_keys) {
    const std::vector<std::int64_t> proposals{1'700'000'000'000'000};
    const Command command = acquire_command(fenced, some_token, 10s, 24h, proposals);
    EXPECT_EQ(words_of(command.bytes()), (Request{"EVALSHA", name_of(fenced_acquire_script), "2", "orders/42",
                                                  "{orders/42}:redlock-fence", some_token.str(), "10000",
                                                  "86400000", "1700000000000000"}));
}

TEST(Command, several_resources_are_taken_by_one_script) {
    EXPECT_EQ(words_of(acquire_command(two, some_token, 5s, 24h, {}).bytes()),
              (Request{"EVALSHA", name_of(acquire_script), "2", "a", "b", some_token.str(), "5000"}));
    const std::vector<std::int64_t> proposals{7, 8};
    EXPECT_EQ(words_of(acquire_command(two_fenced, some_token, 5s, 24h, proposals).bytes()),
              (Request{"EVALSHA", name_of(fenced_acquire_script), "4", "a", "b", "{a}:redlock-fence",
                       "{b}:redlock-fence", some_token.str(), "5000", "86400000", "7", "8"}));
}

TEST(Command, commit_extend_put_back_and_release) {
    const std::vector<std::int64_t> fences{42};
    EXPECT_EQ(words_of(commit_command(fenced, some_token, 24h, fences).bytes()),
              (Request{"EVALSHA", name_of(commit_script), "2", "orders/42", "{orders/42}:redlock-fence",
                       some_token.str(), "86400000", "42"}));
    EXPECT_EQ(words_of(hold_command(Command::Kind::extend, plain, some_token, 9s, 24h, {}).bytes()),
              (Request{"EVALSHA", name_of(extend_script), "1", "orders/42", some_token.str(), "9000"}));
    EXPECT_EQ(words_of(hold_command(Command::Kind::extend, fenced, some_token, 9s, 24h, fences).bytes()),
              (Request{"EVALSHA", name_of(extend_script), "2", "orders/42", "{orders/42}:redlock-fence",
                       some_token.str(), "9000", "86400000", "42"}));
    EXPECT_EQ(words_of(hold_command(Command::Kind::put_back, plain, some_token, 9s, 24h, {}).bytes()),
              (Request{"EVALSHA", name_of(put_back_script), "1", "orders/42", some_token.str(), "9000"}));
    EXPECT_EQ(words_of(release_command(fenced, some_token).bytes()),
              (Request{"EVALSHA", name_of(release_script), "1", "orders/42", some_token.str()}))
        << "the counter stays";
}

TEST(Command, the_full_form_has_the_text_in_place_of_the_name_and_nothing_else_changed) {
    const Command commands[] = {
        release_command(two, some_token),
        hold_command(Command::Kind::extend, plain, some_token, 9s, 24h, {}),
        acquire_command({{std::string{"\r\nEVALSHA\0", 10}}, {"{x}:redlock-fence"}}, some_token, 10s, 24h,
                        std::vector<std::int64_t>{1}),
    };
    for (const Command& command : commands) {
        Request expected = words_of(command.bytes());
        expected[0] = "EVAL";
        expected[1] = command.script()->text;
        EXPECT_EQ(words_of(command.with_script_text()), expected);
    }
}

TEST(Command, a_script_is_named_by_the_sha1_of_its_text) {
    for (std::size_t i = 0; i < every_script.size(); ++i) {
        const Script& script = *every_script[i];
        EXPECT_EQ(script.index, i);
        const auto hex = sha1_hex(script.text);
        EXPECT_EQ(sha1_of(script), (std::string_view{hex.data(), hex.size()}));
    }
}

// The last number that Lua prints exactly, and the largest integer that its doubles hold.
TEST(Command, numbers_are_written_with_all_their_digits) {
    const std::vector<std::int64_t> fences{(std::int64_t{1} << 53U) - 1};
    EXPECT_EQ(words_of(commit_command(fenced, some_token, 24h, fences).bytes()).back(), "9007199254740991");
    EXPECT_EQ(words_of(std::move(RequestWriter{1}.arg(INT64_MIN)).take()).front(), "-9223372036854775808");
}

TEST(FenceKey, is_on_the_hash_slot_of_its_resource) {
    EXPECT_EQ(fence_key("orders/42"), "{orders/42}:redlock-fence");
    EXPECT_EQ(fence_key("{tenant}/orders"), "{tenant}/orders::redlock-fence");
    EXPECT_EQ(fence_key("a{b}c{d}"), "a{b}c{d}::redlock-fence");
    EXPECT_EQ(fence_key("{}x"), "{{}x}:redlock-fence") << "an empty tag is no tag: the whole name counts";
    EXPECT_EQ(fence_key("a}b"), "{a}b}:redlock-fence");
    EXPECT_EQ(fence_key("a{b"), "{a{b}:redlock-fence");
}

/// The hash slot as servers compute it: CRC-16/XMODEM of the tag or, without a tag, of the whole key.
unsigned slot_of(std::string_view key) {
    const std::size_t open = key.find('{');
    const std::size_t close = open == std::string_view::npos ? open : key.find('}', open);
    if (close != std::string_view::npos && close > open + 1) key = key.substr(open + 1, close - open - 1);
    unsigned crc = 0;
    for (const char letter : key) {
        crc ^= static_cast<unsigned>(static_cast<unsigned char>(letter)) << 8U;
        for (int bit = 0; bit < 8; ++bit)
            crc = ((crc << 1U) ^ ((crc & 0x8000U) != 0 ? 0x1021U : 0U)) & 0xFFFFU;
    }
    return crc % 16384;
}

// All names of up to 6 letters, of which only braces matter.
TEST(KeysBesideAResource, are_on_its_slot_but_for_a_closing_brace_without_a_tag_and_are_its_own) {
    ASSERT_EQ(slot_of("123456789"), 0x31C3U % 16384);
    std::map<std::string, std::string> owners;
    std::vector<std::string> names{""};
    for (std::size_t i = 0; i < names.size(); ++i) {
        const std::string name = names[i];
        if (name.size() < 6) {
            for (const char letter : {'a', ':', '{', '}'}) names.push_back(name + letter);
        }
        if (name.empty()) continue;
        const std::string key = fence_key(name);
        EXPECT_TRUE(owners.emplace(key, name).second) << name << " and " << owners[key];
        const std::size_t open = name.find('{');
        const std::size_t close = open == std::string::npos ? open : name.find('}', open);
        const bool is_tagged = close != std::string::npos && close > open + 1;
        if (is_tagged || name.find('}') == std::string::npos) {
            EXPECT_EQ(slot_of(key), slot_of(name)) << name;
        } else {
            EXPECT_EQ(key, "{" + name + "}:redlock-fence") << "wherever that is";
        }
    }
}

// By the rule of Redis Cluster: what is between the first '{' and the first '}' after it, unless empty.
std::string hashed_part(const std::string& key) {
    const std::size_t open = key.find('{');
    if (open == std::string::npos) return key;
    const std::size_t close = key.find('}', open + 1);
    if (close == std::string::npos || close == open + 1) return key;
    return key.substr(open + 1, close - open - 1);
}

TEST(FenceKey, hashes_by_the_rule_of_redis_cluster_to_the_same_slot) {
    for (const char* name : {"orders/42", "{tenant}/orders", "a{b}c{d}", "a{b", "plain"}) {
        EXPECT_EQ(hashed_part(fence_key(name)), hashed_part(name)) << name;
    }
}

TEST(FenceKey, differs_between_resources) {
    EXPECT_NE(fence_key("a"), fence_key("b"));
    EXPECT_NE(fence_key("a"), fence_key("{a}"));
}

}  // namespace
}  // namespace redlock::detail

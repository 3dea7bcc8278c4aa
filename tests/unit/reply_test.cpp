// SPDX-License-Identifier: Apache-2.0
// How every kind of reply becomes a vote.
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "redlock/voting/command.hpp"
#include "redlock/voting/reply.hpp"

namespace redlock::detail {
namespace {

using Kind = Command::Kind;

Reply text(std::string_view content) { return {Reply::Kind::text, 0, content, {}}; }
Reply number(std::int64_t value) { return {Reply::Kind::integer, value, {}, {}}; }
Reply error(std::string_view content) { return {Reply::Kind::error, 0, content, {}}; }
Reply list(const std::vector<Reply>& elements) { return {Reply::Kind::array, 0, {}, elements}; }
const Reply nil{};

const std::string token_text = "0123456789abcdef0123456789abcdef01234567";
const std::string waiter_name = "redlock:fedcba9876543210fedcba9876543210fedcba98 17";
const Claim known_claim{
    {"orders/42", "invoices"}, {"{orders/42}:f", "{invoices}:f"}, {"{orders/42}:q", "{invoices}:q"}};

std::vector<Command> all_commands() {
    using namespace std::chrono_literals;
    const Token ours = Token::parse(token_text);
    const std::vector<std::int64_t> fences{1'750'000'000'000'001, 1'750'000'000'000'002};
    const Claim one{{"orders/42"}, {}, {}};
    return {acquire_command(one, ours, 10s, 24h, {}),
            acquire_command(known_claim, ours, 10s, 24h, fences),
            adopt_command(known_claim, ours, 24h, fences),
            commit_command(known_claim, ours, 24h, fences, true),
            hold_command(Kind::extend, known_claim, ours, 10s, 24h, fences, true),
            hold_command(Kind::put_back, known_claim, ours, 10s, 24h, fences),
            release_command(known_claim, ours),
            enlist_command(known_claim, waiter_name, 1'750'000'000'000'000, 10s),
            delist_command(known_claim, waiter_name),
            peek_command(known_claim.resources, known_claim.counters)};
}

constexpr Kind all_kinds[] = {Kind::acquire, Kind::commit, Kind::extend, Kind::put_back, Kind::release};
constexpr Kind script_kinds[] = {Kind::commit, Kind::extend, Kind::put_back, Kind::release};

TEST(Vote, of_the_plain_set) {
    EXPECT_EQ(read_reply(Kind::acquire, text("OK")).vote, Vote::granted);
    EXPECT_EQ(read_reply(Kind::acquire, nil).vote, Vote::denied);
    EXPECT_EQ(read_reply(Kind::acquire, text("QUEUED")).vote, Vote::refused);
    EXPECT_EQ(read_reply(Kind::acquire, text("")).vote, Vote::refused);
    EXPECT_EQ(read_reply(Kind::acquire, number(1)).vote, Vote::refused);
}

TEST(Vote, of_a_list_that_is_not_all_numbers_is_a_refusal) {
    const std::vector<Reply> elements{text("yes"), number(2), number(5)};
    EXPECT_EQ(read_reply(Kind::acquire, list(elements)).vote, Vote::refused);
}

TEST(Vote, of_a_granting_script_with_its_fencing_values) {
    const std::vector<Reply> elements{number(1), number(1'700'000'000'000'001), number(7)};
    const Answer answer = read_reply(Kind::acquire, list(elements));
    EXPECT_EQ(answer.vote, Vote::granted);
    EXPECT_EQ(answer.values, (std::vector<std::int64_t>{1'700'000'000'000'001, 7}));
    const std::vector<Reply> unfenced{number(1)};
    EXPECT_EQ(read_reply(Kind::acquire, list(unfenced)).vote, Vote::granted);
}

TEST(Vote, of_a_denying_script_with_index_and_time_left) {
    const std::vector<Reply> elements{number(0), number(2), number(4711)};
    const Answer answer = read_reply(Kind::acquire, list(elements));
    EXPECT_EQ(answer.vote, Vote::denied);
    EXPECT_EQ(answer.values, (std::vector<std::int64_t>{2, 4711}));
}

TEST(Vote, of_lists_that_no_script_of_ours_returns) {
    const std::vector<std::vector<Reply>> strange = {
        {},
        {number(2)},
        {number(0)},
        {number(0), number(1)},
        {number(0), number(1), number(2), number(3)},
        {text("1")},
        {number(1), text("7")},
        {number(1), nil},
        {nil},
        {error("ERR inside")},
    };
    for (const auto& elements : strange) {
        const Answer answer = read_reply(Kind::acquire, list(elements));
        EXPECT_EQ(answer.vote, Vote::refused) << elements.size();
        EXPECT_FALSE(answer.text.empty());
    }
}

TEST(Vote, of_a_release_2_is_a_yes_that_notified_a_waiter) {
    const auto answer = read_reply(Kind::release, number(2));
    EXPECT_EQ(answer.vote, Vote::granted);
    EXPECT_EQ(answer.values.size(), 1U);
}

TEST(Vote, of_the_other_scripts_only_1_is_yes) {
    for (const Kind kind : script_kinds) {
        EXPECT_EQ(read_reply(kind, number(1)).vote, Vote::granted);
        EXPECT_EQ(read_reply(kind, number(0)).vote, Vote::denied);
        EXPECT_EQ(read_reply(kind, number(-1)).vote, Vote::absent);
        const std::vector<Reply> elements{number(1)};
        const std::int64_t other = kind == Kind::release ? 3 : 2;
        for (const Reply& reply : {number(other), number(-2), nil, text("OK"), text("1"), list(elements)}) {
            EXPECT_EQ(read_reply(kind, reply).vote, Vote::refused);
            EXPECT_FALSE(read_reply(kind, reply).text.empty());
        }
    }
}

TEST(Vote, R26_of_an_error_is_a_refusal_with_the_nodes_text) {
    for (const Kind kind : all_kinds) {
        const Answer answer = read_reply(kind, error("OOM command not allowed"));
        EXPECT_EQ(answer.vote, Vote::refused);
        EXPECT_EQ(answer.text, "OOM command not allowed");
    }
}

TEST(Vote, only_noscript_means_that_a_script_is_unknown) {
    EXPECT_TRUE(is_unknown_script(error("NOSCRIPT No matching script. Please use EVAL.")));
    EXPECT_FALSE(is_unknown_script(error("ERR NOSCRIPT")));
    EXPECT_FALSE(is_unknown_script(text("NOSCRIPT")));
    EXPECT_FALSE(is_unknown_script(nil));
}

// R31: a server may repeat everything that it was sent.
TEST(Vote, the_text_of_an_error_is_without_what_was_in_the_request) {
    for (const Command& command : all_commands()) {
        std::string echo = "ERR";
        for (const std::string_view argument : command.arguments())
            echo.append(" '").append(argument).append("'");
        const std::string shown = read_reply(command, error(echo)).text;
        for (const std::string_view secret : {"orders/42", "invoices", token_text.c_str(), "fedcba98"}) {
            EXPECT_EQ(shown.find(secret), std::string::npos) << shown;
        }
        EXPECT_EQ(read_reply(command, error("NOPERM no permissions")).text, "NOPERM no permissions");
        EXPECT_EQ(read_reply(command, error("NOPERM no permissions")).vote, Vote::refused);
    }
}

TEST(Vote, numbers_and_flags_of_a_request_are_no_secrets) {
    for (const Command& command : all_commands()) {
        const std::string shown = "ERR 1750000000000001 is not above exactly 86400000 or 10000";
        EXPECT_EQ(read_reply(command, error(shown)).text, shown);
    }
}

// Tokens of other Redlock clients, which may be adopted, have other forms.
TEST(Vote, a_token_of_digits_is_a_secret_all_the_same) {
    using namespace std::chrono_literals;
    const Claim one{{"name"}, {"{name}:f"}, {}};
    const std::vector<std::int64_t> fences{1};
    const Command command = commit_command(one, Token::parse("12345678"), 24h, fences);
    EXPECT_EQ(read_reply(command, error("ERR 12345678 is wrong")).text, "ERR *** is wrong");
}

}  // namespace
}  // namespace redlock::detail

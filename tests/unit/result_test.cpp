// SPDX-License-Identifier: Apache-2.0
// Result, Failure, Error and the category of errc.
#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <system_error>
#include <type_traits>
#include <utility>

#include "redlock/redlock.hpp"
#include "redlock/result.hpp"
#include "redlock/text/printable.hpp"

namespace redlock {
namespace {

using namespace std::chrono_literals;

Failure sample() {
    return Failure{errc::contended,
                   "'orders/42'",
                   {{"redis://a:6379", Vote::granted, "", 100us},
                    {"redis://b:6379", Vote::refused, "OOM no memory", 200us},
                    {"redis://c:6379", Vote::timeout, "", 0us}}};
}

TEST(Failure, its_message_is_one_line_with_code_subject_and_every_node) {
    EXPECT_EQ(sample().message(),
              "contended: 'orders/42' [redis://a:6379 granted; redis://b:6379 refused (OOM no memory); "
              "redis://c:6379 timeout]");
    EXPECT_EQ(Failure{errc::lost}.message(), "lost");
}

// A name comes from a user, and a node's text from the node: neither may forge a log line or control a
// terminal.
TEST(Failure, its_message_is_printable_whatever_was_named_or_said) {
    const Failure failure{errc::contended,
                          std::string{"nul\0cr\r\n\x1b[31m\x7fü", 16},
                          {{"redis://a:6379", Vote::refused, "ERR\n2026 all is well", {}}}};
    EXPECT_EQ(
        failure.message(),
        "contended: nul\\x00cr\\x0d\\x0a\\x1b[31m\\x7fü [redis://a:6379 refused (ERR\\x0a2026 all is well)]");
}

// There are control characters beyond ASCII: C1 controls terminals, U+2028 ends a line, U+202E reverses text.
// Bytes that are not UTF-8 are shown one by one: in another encoding, 0x9b begins a terminal's escape
// sequence.
TEST(Printable, Nothing_but_what_can_be_seen_is_left_as_it_is) {
    using detail::printable;
    const std::string letters = "a~ \\xü€\xF0\x9F\x94\x92\u00A0\u200C\u200D\u2027\u202F\uFFFD\U0010FFFF";
    EXPECT_EQ(printable(letters), letters);
    EXPECT_EQ(printable(""), "");
    EXPECT_EQ(printable("\xC2\x80|\xC2\x85|\xC2\x9B|\xC2\x9F"), R"(\xc2\x80|\xc2\x85|\xc2\x9b|\xc2\x9f)");
    EXPECT_EQ(printable("a\u2028b\u2029c"), R"(a\xe2\x80\xa8b\xe2\x80\xa9c)");
    EXPECT_EQ(printable("\u202A\u202E\u2066\u2069"), R"(\xe2\x80\xaa\xe2\x80\xae\xe2\x81\xa6\xe2\x81\xa9)");
    EXPECT_EQ(printable("\uFEFF\u200B\u200F\u061C"), R"(\xef\xbb\xbf\xe2\x80\x8b\xe2\x80\x8f\xd8\x9c)");
    EXPECT_EQ(printable("\U000E0041"), R"(\xf3\xa0\x81\x81)");
}

TEST(Printable, What_is_not_utf8_is_shown_byte_by_byte) {
    using detail::printable;
    EXPECT_EQ(printable("\x9b"
                        "31m"),
              R"(\x9b31m)");
    EXPECT_EQ(printable("M\xFCller"), R"(M\xfcller)");
    EXPECT_EQ(printable("\xC3"), R"(\xc3)") << "cut short";
    EXPECT_EQ(printable("\xE2\x82|\xF0\x9F\x94"), R"(\xe2\x82|\xf0\x9f\x94)");
    EXPECT_EQ(printable("\xC0\x8A\xE0\x80\x8A\xF0\x80\x80\x8A"), R"(\xc0\x8a\xe0\x80\x8a\xf0\x80\x80\x8a)")
        << "a line feed in too many bytes";
    EXPECT_EQ(printable("\xED\xA0\x80|\xF4\x90\x80\x80|\xFF"), R"(\xed\xa0\x80|\xf4\x90\x80\x80|\xff)");
    EXPECT_EQ(printable("\xC3ü\x80"), R"(\xc3ü\x80)") << "and what follows is looked at anew";
}

TEST(Failure, cuts_a_long_name_between_two_characters) {
    EXPECT_EQ(detail::in_quotes("short"), "'short'");
    EXPECT_EQ(detail::in_quotes(std::string(65, 'x')), "'" + std::string(64, 'x') + "…'");
    const std::string umlaut = "ü";
    EXPECT_EQ(detail::in_quotes(std::string(63, 'x') + umlaut + "y"), "'" + std::string(63, 'x') + "…'");
    EXPECT_EQ(detail::in_quotes(std::string(62, 'x') + umlaut + "y"),
              "'" + std::string(62, 'x') + umlaut + "…'");
}

TEST(Failure, says_after_how_many_attempts_when_there_was_more_than_one) {
    Failure failure{errc::unreachable, "'x'"};
    failure.set_attempts(1);
    EXPECT_EQ(failure.message(), "unreachable: 'x'");
    failure.set_attempts(7);
    EXPECT_EQ(failure.message(), "unreachable: 'x', after 7 attempts");
}

TEST(Failure, is_an_error_code_and_compares_with_errc) {
    const std::error_code code = sample();
    EXPECT_EQ(code, errc::contended);
    EXPECT_EQ(code.category(), error_category());
    EXPECT_TRUE(sample() == errc::contended);
    EXPECT_FALSE(sample() == errc::lost);
}

TEST(Category, every_code_has_a_message_of_its_own_and_none_is_success) {
    static_assert(std::is_error_code_enum_v<errc>);
    EXPECT_STREQ(error_category().name(), "redlock");
    std::string all;
    for (const errc code : {errc::contended, errc::unreachable, errc::too_slow, errc::cancelled, errc::lost,
                            errc::unknown, errc::invalid_argument}) {
        const std::error_code error = code;
        EXPECT_TRUE(error) << "0 would mean no error";
        EXPECT_EQ(error.message(), to_string(code));
        EXPECT_NE(error.message(), "unspecified");
        EXPECT_EQ(all.find("|" + error.message() + "|"), std::string::npos);
        all += "|" + error.message() + "|";
    }
    EXPECT_EQ(error_category().message(99), "unspecified");
}

TEST(Vote, every_vote_has_a_word) {
    for (const Vote vote : {Vote::pending, Vote::granted, Vote::denied, Vote::absent, Vote::timeout,
                            Vote::unreachable, Vote::refused, Vote::quarantined}) {
        EXPECT_NE(to_string(vote), "unspecified");
    }
}

TEST(Result, holds_a_value_or_a_failure) {
    const Result<int> good{7};
    EXPECT_TRUE(good);
    EXPECT_TRUE(good.has_value());
    EXPECT_EQ(*good, 7);
    EXPECT_EQ(good.value(), 7);
    const Result<int> bad{sample()};
    EXPECT_FALSE(bad);
    EXPECT_EQ(bad.error().code(), errc::contended);
    EXPECT_EQ(bad.error().nodes().size(), 3U);
}

TEST(Result, value_throws_what_the_failure_says) {
    const Result<int> bad{sample()};
    try {
        static_cast<void>(bad.value());
        FAIL() << "it has no value";
    } catch (const Error& error) {
        EXPECT_EQ(error.code(), errc::contended);
        EXPECT_EQ(std::string{error.what()}, sample().message());
        EXPECT_EQ(error.nodes().at(1).detail, "OOM no memory");
        EXPECT_EQ(error.failure().message(), sample().message());
    }
    EXPECT_THROW(Result<void>{sample()}.value(), std::system_error);
    EXPECT_NO_THROW(Result<void>{}.value());
}

TEST(Result, carries_what_can_only_be_moved) {
    Result<std::unique_ptr<int>> result{std::make_unique<int>(5)};
    EXPECT_EQ(**result, 5);
    EXPECT_EQ(*result->get(), 5);
    const std::unique_ptr<int> taken = *std::move(result);
    EXPECT_EQ(*taken, 5);
    EXPECT_EQ(*Result<std::unique_ptr<int>>{std::make_unique<int>(6)}.value(), 6);
}

template <class Tested>
constexpr bool can_be_tested = requires(Tested result) {
    static_cast<bool>(static_cast<Tested>(result));
};
template <class Tested>
constexpr bool can_be_asked = requires(Tested result) {
    static_cast<Tested>(result).has_value();
};

// The body of `if (locks.try_lock("a", 5s))` would run without the lock.
TEST(Result, of_a_lock_cannot_be_tested_as_a_temporary) {
    static_assert(!can_be_tested<Result<Lock>&&> && !can_be_asked<Result<Lock>&&>);
    static_assert(!can_be_tested<const Result<Lock>&&> && !can_be_asked<const Result<Lock>&&>);
    static_assert(can_be_tested<Result<Lock>&> && can_be_asked<Result<Lock>&>);
    static_assert(can_be_tested<const Result<Lock>&> && can_be_asked<const Result<Lock>&>);
    static_assert(can_be_tested<Result<void>&&> && can_be_asked<Result<void>&&>);
    static_assert(can_be_tested<Result<int>&&> && can_be_asked<Result<int>&&>);
    if (auto lock = Result<Lock>{Failure{errc::contended}}) ADD_FAILURE();
    if (const auto lock = Result<Lock>{Lock{}}; !lock) ADD_FAILURE();
}

TEST(Result, does_not_turn_into_a_number_by_itself) {
    static_assert(!std::is_convertible_v<Result<int>, bool>);
    static_assert(!std::is_convertible_v<Result<void>, bool>);
    static_assert(!std::is_convertible_v<Result<int>, int>);
}

}  // namespace
}  // namespace redlock

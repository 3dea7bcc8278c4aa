// SPDX-License-Identifier: Apache-2.0
// The guarded resource within this process.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <cstdint>
#include <memory>
#include <stdexcept>
#include <string>
#include <thread>
#include <type_traits>
#include <vector>

#include <redlock/fencing.hpp>

namespace redlock::test {
namespace {

using ::testing::HasSubstr;

constexpr std::uint64_t guarded_token = 1'795'000'000'000'123;  // a typical token

TEST(FenceGuard, admits_the_largest_again_and_refuses_what_is_lower_by_one) {
    FenceGuard guard;
    EXPECT_EQ(guard.largest("file"), 0U);
    EXPECT_TRUE(guard.admit("file", guarded_token));
    EXPECT_TRUE(guard.admit("file", guarded_token));
    const auto refused = guard.admit("file", guarded_token - 1);
    ASSERT_FALSE(refused);
    EXPECT_EQ(refused.error().code(), errc::fenced);
    EXPECT_THAT(refused.error().message(), HasSubstr(std::to_string(guarded_token)));
    EXPECT_THAT(refused.error().message(), HasSubstr("'file'"));
    EXPECT_EQ(guard.largest("file"), guarded_token);
    EXPECT_TRUE(guard.admit("file", guarded_token + 1));
    EXPECT_FALSE(guard.admit("file", guarded_token));
}

TEST(FenceGuard, resources_do_not_disturb_each_other) {
    FenceGuard guard;
    EXPECT_TRUE(guard.admit("a", 7));
    EXPECT_TRUE(guard.admit("b", 3));
    EXPECT_FALSE(guard.admit("a", 6));
    EXPECT_TRUE(guard.admit("b", 4));
    EXPECT_EQ(guard.largest("a"), 7U);
}

TEST(FenceGuard, zero_is_no_token) {
    FenceGuard guard;
    bool has_run = false;
    const auto refused = guard.apply("file", 0, [&] { has_run = true; });
    ASSERT_FALSE(refused);
    EXPECT_EQ(refused.error().code(), errc::invalid_argument);
    EXPECT_FALSE(has_run);
    EXPECT_EQ(guard.largest("file"), 0U);
}

TEST(FenceGuard, a_late_action_does_not_run) {
    FenceGuard guard;
    int runs = 0;
    EXPECT_TRUE(guard.apply("file", 5, [&] { ++runs; }));
    EXPECT_FALSE(guard.apply("file", 4, [&] { ++runs; }));
    EXPECT_EQ(runs, 1);
}

TEST(FenceGuard, what_it_forgot_it_admits) {
    FenceGuard guard;
    EXPECT_TRUE(guard.admit("file", 5));
    guard.forget("other");
    EXPECT_FALSE(guard.admit("file", 4));
    guard.forget("file");
    EXPECT_EQ(guard.largest("file"), 0U);
    EXPECT_TRUE(guard.admit("file", 4));
}

// If check and write were two steps, a writer could come between them, and this test would show it.
TEST(FenceGuard, check_and_write_are_one_step_for_all_threads) {
    FenceGuard guard;
    std::uint64_t file = 0;  // only the FenceGuard protects it
    std::atomic<std::uint64_t> next{1};
    std::atomic<std::uint64_t> written{0};
    bool went_back = false;
    {
        std::vector<std::jthread> writers;
        for (int i = 0; i < 4; ++i) {
            writers.emplace_back([&] {
                for (int round = 0; round < 5'000; ++round) {
                    const std::uint64_t token = next.fetch_add(1);
                    const auto applied = guard.apply("file", token, [&] {
                        went_back = went_back || file >= token;
                        file = token;
                    });
                    if (applied) ++written;
                }
            });
        }
    }
    EXPECT_FALSE(went_back);
    EXPECT_EQ(file, 20'000U) << "the largest token is always admitted";
    EXPECT_EQ(guard.largest("file"), 20'000U);
    EXPECT_GT(written.load(), 0U);
}

TEST(FenceGuard, refusal_is_an_error_of_its_own) {
    const std::error_code refusal = errc::fenced;
    EXPECT_EQ(refusal.category().name(), std::string{"redlock"});
    EXPECT_EQ(refusal.message(), "fenced");
    for (const errc other : {errc::contended, errc::unreachable, errc::too_slow, errc::cancelled, errc::lost,
                             errc::unknown, errc::invalid_argument}) {
        EXPECT_NE(refusal, std::error_code{other});
        EXPECT_NE(to_string(errc::fenced), to_string(other));
    }
    FenceGuard guard;
    EXPECT_TRUE(guard.admit("file", 2));
    try {
        guard.admit("file", 1).value();
        FAIL() << "no error was thrown";
    } catch (const Error& error) {
        EXPECT_EQ(error.code(), errc::fenced);
        EXPECT_THAT(error.what(), HasSubstr("fenced"));
    }
}

TEST(FenceGuard, what_is_beyond_2_to_the_53_is_no_token) {
    FenceGuard guard;
    bool has_run = false;
    for (const std::uint64_t token : {std::uint64_t{1} << 53U, ~std::uint64_t{0}}) {
        const auto refused = guard.apply("file", token, [&] { has_run = true; });
        ASSERT_FALSE(refused) << token;
        EXPECT_EQ(refused.error().code(), errc::invalid_argument) << token;
    }
    EXPECT_FALSE(has_run);
    EXPECT_EQ(guard.largest("file"), 0U) << "it would keep all others out";
    EXPECT_TRUE(guard.admit("file", (std::uint64_t{1} << 53U) - 1));
}

// The action may have written before it threw.
TEST(FenceGuard, an_action_that_throws_leaves_its_token_noted) {
    FenceGuard guard;
    EXPECT_TRUE(guard.admit("file", 4));
    const auto fail = [] { throw std::runtime_error{"disk full"}; };
    EXPECT_THROW(static_cast<void>(guard.apply("file", 5, fail)), std::runtime_error);
    EXPECT_EQ(guard.largest("file"), 5U);
    EXPECT_FALSE(guard.admit("file", 4)) << "late";
    EXPECT_TRUE(guard.admit("file", 5)) << "the same may try again";
    EXPECT_TRUE(guard.admit("file", 6)) << "and what threw is not under way any more";
}

TEST(FenceGuard, an_action_may_ask_the_guard_again) {
    FenceGuard guard;
    int runs = 0;
    const auto outer = guard.apply("file", 5, [&] {
        ++runs;
        EXPECT_EQ(guard.largest("file"), 5U);
        EXPECT_TRUE(guard.admit("file", 5)) << "the same token";
        EXPECT_TRUE(guard.apply("index", 9, [&] { ++runs; })) << "another resource";
        const auto late = guard.admit("file", 4);
        ASSERT_FALSE(late);
        EXPECT_EQ(late.error().code(), errc::fenced);
        guard.forget("other");
    });
    EXPECT_TRUE(outer);
    EXPECT_EQ(runs, 2);
}

// After that, the outer action would write as a late holder.
TEST(FenceGuard, within_an_action_no_later_token_is_admitted_to_its_resource) {
    FenceGuard guard;
    const auto outer = guard.apply("file", 5, [&] {
        const auto nested = guard.admit("file", 6);
        ASSERT_FALSE(nested);
        EXPECT_EQ(nested.error().code(), errc::invalid_argument);
        EXPECT_THAT(nested.error().message(), HasSubstr("'file'"));
        EXPECT_TRUE(guard.apply("index", 6, [&] { EXPECT_FALSE(guard.admit("file", 6)); }));
    });
    EXPECT_TRUE(outer);
    EXPECT_EQ(guard.largest("file"), 5U);
    EXPECT_TRUE(guard.admit("file", 6)) << "after it";
}

TEST(FenceGuard, gives_back_what_the_action_gave) {
    FenceGuard guard;
    const Result<int> bytes = guard.apply("file", 5, [] { return 42; });
    ASSERT_TRUE(bytes);
    EXPECT_EQ(*bytes, 42);
    const std::string text = "text";
    const auto copy = guard.apply("file", 5, [&]() -> const std::string& { return text; });
    static_assert(std::is_same_v<decltype(copy), const Result<std::string>>);
    EXPECT_EQ(copy.value(), "text");
    const auto owned =
        guard.apply("file", 5, [p = std::make_unique<int>(7)]() mutable { return std::move(p); });
    EXPECT_EQ(**owned, 7);
    const Result<int> late = guard.apply("file", 4, [] { return 43; });
    ASSERT_FALSE(late);
    EXPECT_EQ(late.error().code(), errc::fenced);
}

TEST(FenceGuard, a_failure_of_the_action_is_the_failure_of_the_call) {
    FenceGuard guard;
    const auto failed = guard.apply("file", 5, []() -> Result<int> {
        return Failure{errc::unknown, "half written"};
    });
    static_assert(std::is_same_v<decltype(failed), const Result<int>>);
    ASSERT_FALSE(failed);
    EXPECT_EQ(failed.error().code(), errc::unknown);
    EXPECT_EQ(guard.apply("file", 5, []() -> Result<int> { return 3; }).value(), 3);
    EXPECT_TRUE(guard.apply("file", 5, []() -> Result<void> { return {}; }));
}

}  // namespace
}  // namespace redlock::test

// SPDX-License-Identifier: Apache-2.0
// Waiting between attempts, rules R8 and R9, over nodes in memory.
#include <gtest/gtest.h>

#include <optional>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "support/eventually.hpp"
#include "unit/scripted_world.hpp"

namespace redlock::test {
namespace {

void occupy(World& world, const std::string& name, std::chrono::milliseconds ttl = 1h) {
    for (std::size_t i = 0; i < world.size(); ++i) world.put(i, name, "another", ttl);
}

// When each attempt began.
std::vector<Nanoseconds> starts_of(const World& world) {
    std::vector<Nanoseconds> starts;
    for (const Handed& set : world.handed_to(0, "acquire")) starts.push_back(set.at.time_since_epoch());
    return starts;
}

// DESIGN 10: "sleeps before the first attempt".
TEST(Retry, R8_no_delay_comes_before_the_first_attempt) {
    World world{3};
    auto locks = connected_to(world);
    const auto before = world.clock.now();
    ASSERT_TRUE(locks.lock("name", {.ttl = 10s, .wait = 5s}));
    EXPECT_EQ(world.handed("acquire").front().at, before);
}

TEST(Retry, R8_without_wait_there_is_one_attempt) {
    World world{3};
    auto locks = connected_to(world);
    occupy(world, "name");
    const auto lock = locks.lock("name", {.ttl = 10s});
    ASSERT_FALSE(lock);
    EXPECT_EQ(lock.error().attempts(), 1U);
    EXPECT_EQ(starts_of(world).size(), 1U);
}

// DESIGN 10: "retry delay option ignored".
TEST(Retry, R8_the_bound_of_the_delay_grows_from_base_to_cap) {
    Options options = plain_options();
    options.retry = {.base = 20ms, .cap = 100ms, .multiplier = 2.0};
    World world{3};
    auto locks = connected_to(world, options);
    occupy(world, "name");
    world.jitter = 255;  // almost the bound itself
    ASSERT_FALSE(got(locks.lock("name", {.ttl = 10s, .wait = 400ms})));
    const auto starts = starts_of(world);
    ASSERT_GE(starts.size(), 6U);
    const Nanoseconds bounds[] = {20ms, 40ms, 80ms, 100ms, 100ms};
    for (std::size_t i = 0; i < std::size(bounds); ++i) {
        const Nanoseconds pause = starts[i + 1] - starts[i];
        EXPECT_GE(pause, bounds[i] - 1us) << i;
        EXPECT_LE(pause, bounds[i] + 1ms) << i;  // the round is added
    }
}

// DESIGN 10: "unseeded rand() for jitter".
TEST(Retry, R8_the_delay_is_drawn_from_zero_to_its_bound) {
    Options options = plain_options();
    options.retry = {.base = 100ms, .cap = 100ms, .multiplier = 1.0};
    World world{3};
    auto locks = connected_to(world, options);
    occupy(world, "name");
    ASSERT_FALSE(got(locks.lock("name", {.ttl = 10s, .wait = 20s})));
    const auto starts = starts_of(world);
    Nanoseconds least = 1h;
    Nanoseconds most{0};
    for (std::size_t i = 1; i + 1 < starts.size(); ++i) {
        least = std::min(least, starts[i] - starts[i - 1]);
        most = std::max(most, starts[i] - starts[i - 1]);
    }
    ASSERT_GT(starts.size(), 200U);
    EXPECT_LT(least, 10ms);
    EXPECT_GT(most, 90ms);
    EXPECT_LE(most, 101ms);
}

TEST(Retry, R8_the_first_bound_is_above_one_round_however_slow_that_is) {
    Options options = plain_options();
    options.node_timeout = 500ms;
    options.retry = {.base = 1ms, .cap = 10s, .multiplier = 1.0};
    World world{3};
    auto locks = connected_to(world, options);
    occupy(world, "name");
    world.jitter = 255;
    for (std::size_t i = 0; i < 3; ++i) world[i].round_trip = 200ms;
    ASSERT_FALSE(got(locks.lock("name", {.ttl = 10s, .wait = 2s})));
    const auto starts = starts_of(world);
    ASSERT_GE(starts.size(), 2U);
    EXPECT_GE(starts[1] - starts[0], 200ms + 399ms);
}

TEST(Retry, R8_a_call_never_goes_on_past_its_wait) {
    Options options = plain_options();
    options.retry = {.base = 1h, .cap = 1h, .multiplier = 1.0};
    World world{3};
    auto locks = connected_to(world, options);
    world.jitter = 255;
    for (std::size_t i = 0; i < 3; ++i) world.hang(i);
    const auto before = world.clock.now();
    const auto lock = locks.lock("name", {.ttl = 10s, .wait = 1s});
    ASSERT_FALSE(lock);
    EXPECT_LE(world.clock.now() - before, 1s);
    EXPECT_EQ(lock.error().attempts(), 2U) << "the time that is left is used for one more attempt";
}

TEST(Retry, R8_it_stops_after_max_attempts) {
    Options options = plain_options();
    options.retry.max_attempts = 3;
    World world{3};
    auto locks = connected_to(world, options);
    occupy(world, "name");
    const auto lock = locks.lock("name", {.ttl = 10s, .wait = forever});
    ASSERT_FALSE(lock);
    EXPECT_EQ(lock.error().attempts(), 3U);
    EXPECT_NE(lock.error().message().find("after 3 attempts"), std::string::npos) << lock.error().message();
}

// Fails under UBSan where the longest and the shortest durations are used unchecked.
TEST(Retry, a_callable_may_return_any_duration) {
    using std::chrono::milliseconds;
    for (const milliseconds delay : {milliseconds::max(), milliseconds::min(), milliseconds{-1}}) {
        Options options = plain_options();
        options.retry.decide = [delay](std::uint32_t attempt, const Failure&) -> std::optional<milliseconds> {
            if (attempt == 3) return std::nullopt;
            return delay;
        };
        World world{3};
        auto locks = connected_to(world, options);
        occupy(world, "name");
        const auto before = world.clock.now();
        const auto lock = locks.lock("name", {.ttl = 10s, .wait = 1s});
        ASSERT_FALSE(lock);
        EXPECT_LE(world.clock.now() - before, 1s);
        EXPECT_EQ(lock.error().attempts(), delay < 0ms ? 3U : 2U);
    }
}

TEST(Retry, R8_waiting_for_good_ends_with_the_lock) {
    World world{3};
    auto locks = connected_to(world);
    occupy(world, "name", 60s);
    const auto lock = locks.lock("name", {.ttl = 10s, .wait = forever});
    ASSERT_TRUE(lock);
    EXPECT_EQ(lock->resource(), "name");
}

TEST(Retry, R8_a_stop_ends_the_wait_between_attempts_at_once) {
    Options options = plain_options();
    options.retry = {.base = 1h, .cap = 1h, .multiplier = 1.0};
    World world{3};
    auto locks = connected_to(world, options);
    occupy(world, "name");
    std::stop_source source;
    // The nodes' answer to the release is the first thing to come during the delay.
    world.before_telling = [&] { world.before_telling = [&] { source.request_stop(); }; };
    const auto before = world.clock.now();
    const auto lock = locks.lock("name", {.ttl = 10s, .wait = forever, .stop = source.get_token()});
    ASSERT_FALSE(lock);
    EXPECT_EQ(lock.error().code(), errc::cancelled);
    EXPECT_EQ(lock.error().attempts(), 1U);
    EXPECT_EQ(lock.error().nodes().size(), 3U);
    EXPECT_LE(world.clock.now() - before, 1s);
}

TEST(Retry, R8_a_stop_requested_before_the_call_sends_no_request_for_the_lock) {
    World world{3};
    auto locks = connected_to(world);
    std::stop_source source;
    source.request_stop();
    const auto lock = locks.lock("name", {.ttl = 10s, .wait = forever, .stop = source.get_token()});
    ASSERT_FALSE(lock);
    EXPECT_EQ(lock.error().code(), errc::cancelled);
    EXPECT_TRUE(world.handed("acquire").empty());
}

// CASES 8: the late release of one attempt must not free a later one.
TEST(Retry, R9_every_attempt_has_a_token_of_its_own) {
    World world{3};
    auto locks = connected_to(world);
    occupy(world, "name", 2s);
    const auto lock = locks.lock("name", {.ttl = 10s, .wait = forever});
    ASSERT_TRUE(lock);
    std::set<std::string> tokens;
    for (const Handed& set : world.handed_to(0, "acquire")) tokens.insert(set.token());
    EXPECT_EQ(tokens.size(), starts_of(world).size());
    EXPECT_GT(tokens.size(), 2U);
    EXPECT_TRUE(tokens.contains(lock->token().str()));
    for (const std::string& token : tokens) {
        EXPECT_EQ(token.size(), 40U);
        EXPECT_EQ(token.find_first_not_of("0123456789abcdef"), std::string::npos);
    }
}

// CASES 12: a request whose connection broke may have run.
TEST(Retry, R9_nothing_is_sent_again_after_its_connection_was_lost) {
    World world{3};
    auto locks = connected_to(world);
    world[1].round_trip = world[2].round_trip = 2ms;
    world.before_telling = [&] { world.cut(1, World::OnTheirWay::still_run); };
    const auto lock = locks.try_lock("name", 10s);
    ASSERT_TRUE(lock);
    for (int i = 0; i < 5; ++i) {
        world.clock.advance(50ms);
        ASSERT_TRUE(locks.try_lock("other", 10s));
    }
    std::size_t sent = 0;
    for (const Handed& set : world.handed_to(1, "acquire")) sent += set.request.at(1) == "name" ? 1 : 0;
    EXPECT_EQ(sent, 1U);
    EXPECT_EQ(lock->nodes()[1].vote, Vote::unreachable);
}

// A wait is used to its end, and short ones are waits as well.
TEST(Retry, R8_what_is_freed_shortly_before_the_end_of_the_wait_is_got) {
    for (const auto wait : {10ms, 50ms, 100ms, 1000ms}) {
        Options options = plain_options();
        options.retry = {.base = 1ms, .cap = 1ms};
        World world{3};
        auto locks = connected_to(world, options);
        occupy(world, "name", wait - 4ms);
        const auto before = world.clock.now();
        EXPECT_TRUE(locks.lock("name", {.ttl = 10s, .wait = wait})) << wait.count() << " ms";
        EXPECT_LE(world.clock.now() - before, wait);
    }
}

// The attempt before reported the holder; an attempt that was cut short reports nothing better.
TEST(Retry, R8_an_attempt_near_the_end_of_the_wait_is_cut_short_by_it) {
    Options options = plain_options();
    options.retry = {.base = 1h, .cap = 1h, .multiplier = 1.0};
    World world{3};
    auto locks = connected_to(world, options);
    world.jitter = 255;
    occupy(world, "name");
    world.before_telling = [&] {
        world.before_telling = [&] {
            for (std::size_t i = 0; i < 3; ++i) world.hang(i);
        };
    };
    const auto before = world.clock.now();
    const auto lock = locks.lock("name", {.ttl = 10s, .wait = 1s});
    ASSERT_FALSE(lock);
    EXPECT_LE(world.clock.now() - before, 1s);
    EXPECT_EQ(lock.error().attempts(), 2U);
    EXPECT_EQ(lock.error().code(), errc::contended) << lock.error().message();
}

TEST(Retry, it_waits_for_a_holder_but_not_for_nodes_that_do_not_answer) {
    World world{3};
    auto locks = connected_to(world);
    occupy(world, "name", 10s);
    const LockOptions how{.ttl = 10s, .wait = forever, .wait_unreachable = 1s};
    EXPECT_TRUE(locks.lock("name", how)) << "after ten times as long";
    for (std::size_t i = 0; i < 3; ++i) world.hang(i);
    const auto before = world.clock.now();
    const auto lock = locks.lock("name", how);
    ASSERT_FALSE(lock);
    EXPECT_EQ(lock.error().code(), errc::unreachable);
    EXPECT_GE(world.clock.now() - before, 1s);
    EXPECT_LE(world.clock.now() - before, 2s);
}

}  // namespace
}  // namespace redlock::test

// SPDX-License-Identifier: Apache-2.0
// Fencing tokens (section 6 of the design) over nodes in memory.
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "redlock/voting/claim.hpp"
#include "unit/scripted_world.hpp"

namespace redlock::test {
namespace {

std::string fence_at(const World& world, std::size_t node) {
    return world.get(node, detail::fence_key("name")).value_or("");
}

void set_fence(World& world, std::size_t node, std::int64_t value) {
    world.put(node, detail::fence_key("name"), std::to_string(value), 1h);
}

ScriptedRedlock fenced_locks(World& world) { return connected_to(world, Options{}); }

TEST(Fencing, one_round_trip_when_the_proposal_is_ahead_of_the_counters) {
    World world{5};
    auto locks = fenced_locks(world);
    set_fence(world, 0, 5);
    set_fence(world, 1, 700);
    const auto wall_us = world.clock.wall_us();
    const auto lock = locks.try_lock("name", 10s);
    ASSERT_TRUE(lock);
    EXPECT_EQ(lock->fencing_token(), static_cast<std::uint64_t>(wall_us));
    EXPECT_EQ(lock->fencing_token("name"), lock->fencing_token());
    EXPECT_EQ(lock->fencing_token("something else"), 0U);
    EXPECT_TRUE(world.handed("commit").empty());
}

// DESIGN 10: "fencing by max of per-node INCR: 11, then 2".
TEST(Fencing, a_second_round_raises_the_counters_when_the_nodes_gave_different_values) {
    World world{3};
    auto locks = fenced_locks(world);
    const std::int64_t ahead = world.clock.wall_us() + 1'000'000'000;
    set_fence(world, 0, ahead + 5);
    set_fence(world, 1, ahead + 10);
    set_fence(world, 2, ahead + 1);
    const auto lock = locks.try_lock("name", 10s);
    ASSERT_TRUE(lock);
    world.let_arrive();
    std::size_t committed = 0;
    for (std::size_t i = 0; i < 3; ++i) {
        committed += fence_at(world, i) == std::to_string(lock->fencing_token()) ? 1 : 0;
    }
    EXPECT_GE(committed, 2U);
    EXPECT_FALSE(world.handed("commit").empty());
    for (const Handed& one : world.handed("commit")) EXPECT_EQ(one.token(), lock->token().str());
}

TEST(Fencing, tokens_grow_though_the_wall_clock_runs_back_and_other_clients_are_ahead) {
    World world{5};
    auto locks = fenced_locks(world);
    std::uint64_t last = 0;
    for (int i = 0; i < 50; ++i) {
        world.clock.set_wall_us(1'700'000'000'000'000 - 1'000'000 * i);
        if (i == 20) set_fence(world, 2, 1'700'000'090'000'000);
        const auto lock = locks.try_lock("name", 10s);
        ASSERT_TRUE(lock);
        EXPECT_GT(lock->fencing_token(), last);
        last = lock->fencing_token();
        world.clock.advance(10ms);
    }
}

// The counters are set back, as after a loss: a client continues above the largest token it has seen.
TEST(Fencing, what_a_client_has_seen_is_a_floor_and_saves_the_second_round) {
    World world{3};
    auto locks = fenced_locks(world);
    const std::int64_t ahead = world.clock.wall_us() + 1'000'000'000;
    for (std::size_t i = 0; i < 3; ++i) set_fence(world, i, ahead);
    const std::uint64_t first = locks.try_lock("name", 10s)->fencing_token();
    EXPECT_GT(first, static_cast<std::uint64_t>(ahead));
    world.let_arrive();
    world.forget_handed();
    for (std::size_t i = 0; i < 3; ++i) set_fence(world, i, ahead - 100 + static_cast<std::int64_t>(i) * 10);
    const auto lock = locks.try_lock("name", 10s);
    ASSERT_TRUE(lock);
    EXPECT_EQ(lock->fencing_token(), first + 1);
    EXPECT_TRUE(world.handed("commit").empty());
}

TEST(Fencing, without_a_quorum_for_the_second_round_the_attempt_fails_and_is_undone) {
    World world{3};
    auto locks = fenced_locks(world);
    const std::int64_t ahead = world.clock.wall_us() + 1'000'000'000;
    for (std::size_t i = 0; i < 3; ++i) {
        set_fence(world, i, ahead + static_cast<std::int64_t>(i) * 100);
        world[i].says = [](const Request& request) -> std::optional<ScriptedReply> {
            if (kind_of(request) != "commit") return std::nullopt;
            return ScriptedReply::number(0);
        };
    }
    const auto lock = locks.try_lock("name", 10s);
    ASSERT_FALSE(lock);
    EXPECT_EQ(world.handed("release").size(), 3U);
    world.let_arrive();
    EXPECT_EQ(world.count_holding("name"), 0U);
}

// Nobody else holds it: the nodes failed.
TEST(Fencing, when_nodes_die_in_the_second_round_the_reason_is_not_contended) {
    World world{5};
    auto locks = fenced_locks(world);
    const std::int64_t ahead = world.clock.wall_us() + 1'000'000'000;
    world.refuse(3);
    world.refuse(4);
    for (std::size_t i = 0; i < 3; ++i) {
        set_fence(world, i, ahead + static_cast<std::int64_t>(i) * 100);
        world[i].says = [](const Request& request) -> std::optional<ScriptedReply> {
            if (kind_of(request) != "commit") return std::nullopt;
            return ScriptedReply::error("LOADING Redis is loading the dataset in memory");
        };
    }
    const auto lock = locks.try_lock("name", 10s);
    ASSERT_FALSE(lock);
    EXPECT_EQ(lock.error().code(), errc::unreachable) << lock.error().message();
}

TEST(Fencing, both_rounds_are_within_one_deadline) {
    World world{3};
    auto locks = fenced_locks(world);
    const std::int64_t ahead = world.clock.wall_us() + 1'000'000'000;
    for (std::size_t i = 0; i < 3; ++i) {
        set_fence(world, i, ahead + static_cast<std::int64_t>(i) * 100);
        world[i].round_trip = 40ms;
    }
    const auto before = world.clock.now();
    EXPECT_FALSE(got(locks.try_lock("name", 10s)));
    EXPECT_LE(world.clock.now() - before, Options{}.node_timeout);
}

// Otherwise a node could count whose late grant came after another holder's.
TEST(Fencing, an_extension_does_not_count_a_node_whose_counter_is_past_our_token) {
    World world{3};
    auto locks = fenced_locks(world);
    auto lock = locks.try_lock("name", 10s);
    ASSERT_TRUE(lock);
    world.let_arrive();
    const auto larger = static_cast<std::int64_t>(lock->fencing_token()) + 1;
    set_fence(world, 0, larger);
    EXPECT_TRUE(lock->extend(10s));
    set_fence(world, 1, larger);
    const auto extended = lock->extend(10s);
    ASSERT_FALSE(extended);
    EXPECT_EQ(extended.error().code(), errc::lost);
}

TEST(Fencing, a_node_put_back_gets_our_token_as_its_counter) {
    World world{3};
    auto locks = fenced_locks(world);
    auto lock = locks.try_lock("name", 10s);
    ASSERT_TRUE(lock);
    world.let_arrive();
    world.erase(0, "name");
    world.erase(0, detail::fence_key("name"));
    for (int i = 0; i < 2; ++i) {
        ASSERT_TRUE(lock->extend(10s));
        world.let_arrive();
    }
    EXPECT_EQ(world.get(0, "name"), lock->token().str());
    EXPECT_EQ(fence_at(world, 0), std::to_string(lock->fencing_token()));
}

TEST(Fencing, the_counter_outlives_the_lock) {
    World world{3};
    auto locks = fenced_locks(world);
    ASSERT_TRUE(locks.try_lock("name", 10s)) << "and unlocked";
    world.let_arrive();
    EXPECT_EQ(world.count_holding("name"), 0U);
    EXPECT_EQ(world.count_holding(detail::fence_key("name")), 3U);
}

TEST(Fencing, several_resources_have_a_token_each) {
    World world{3};
    auto locks = fenced_locks(world);
    for (std::size_t i = 0; i < 3; ++i) set_fence(world, i, world.clock.wall_us() + 1'000'000'000);
    const auto lock = locks.try_lock({"a", "name"}, 10s);
    ASSERT_TRUE(lock);
    EXPECT_GT(lock->fencing_token("name"), lock->fencing_token("a"));
    EXPECT_EQ(lock->fencing_token(), lock->fencing_token("a"));
}

TEST(Fencing, off_the_token_is_zero_and_the_request_is_the_plain_set) {
    World world{3};
    auto locks = connected_to(world, plain_options());
    const auto lock = locks.try_lock("name", 10s);
    ASSERT_TRUE(lock);
    EXPECT_EQ(lock->fencing_token(), 0U);
    for (const Handed& one : world.handed("acquire")) EXPECT_EQ(one.request.at(0), "SET");
    world.let_arrive();
    EXPECT_EQ(world.count_holding(detail::fence_key("name")), 0U);
}

TEST(Fencing, the_counters_are_where_the_options_say) {
    Options options;
    options.fence_suffix = "counter";
    World world{3};
    auto locks = connected_to(world, options);
    auto lock = locks.try_lock({"name", "{tag}x"}, 10s);
    ASSERT_TRUE(lock);
    world.let_arrive();
    EXPECT_EQ(world.count_holding("{name}:counter"), 3U);
    EXPECT_EQ(world.count_holding("{tag}x::counter"), 3U);
    EXPECT_EQ(world.count_holding(detail::fence_key("name")), 0U);
    EXPECT_TRUE(lock->extend(10s));
}

// R30: such a node refuses, and the others decide.
TEST(Fencing, a_counter_that_is_not_ours_is_not_counted_on) {
    World world{3};
    auto locks = fenced_locks(world);
    world.put(0, detail::fence_key("name"), "nan", 1h);
    {
        const auto lock = locks.try_lock("name", 10s);
        ASSERT_TRUE(lock) << lock.error().message();
        EXPECT_EQ(lock->nodes().at(0).vote, Vote::refused);
    }
    world.put(1, detail::fence_key("name"), "9007199254740992", 1h);
    const auto lock = locks.try_lock("name", 10s);
    ASSERT_FALSE(lock);
    EXPECT_EQ(lock.error().nodes().at(1).detail.find("FOREIGN"), 0U) << lock.error().message();
    world.let_arrive();
    EXPECT_EQ(fence_at(world, 0), "nan");
    EXPECT_EQ(fence_at(world, 1), "9007199254740992");
    EXPECT_EQ(world.count_holding("name"), 0U);
}

}  // namespace
}  // namespace redlock::test

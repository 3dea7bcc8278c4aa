// SPDX-License-Identifier: Apache-2.0
// Order, bounds and pending releases of connections, rules R19, R20 and R22, over nodes in memory.
#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <vector>

#include "unit/scripted_world.hpp"

namespace redlock::test {
namespace {

constexpr std::size_t sick = 2;  // the node that fails

std::vector<std::string> kinds_at(const World& world, std::size_t node) {
    std::vector<std::string> kinds;
    for (const Handed& one : world.handed_to(node)) kinds.push_back(one.kind());
    return kinds;
}

TEST(Backlog, R19_the_release_of_a_lock_comes_after_its_acquire_on_every_node) {
    World world{5};
    auto locks = connected_to(world);
    for (std::size_t i = 0; i < 5; ++i) world[i].round_trip = std::chrono::milliseconds{10 * i + 1};
    ASSERT_TRUE(locks.try_lock("name", 10s)) << "and unlocked, while the slow ones have not answered yet";
    for (std::size_t i = 0; i < 5; ++i) {
        EXPECT_EQ(kinds_at(world, i), (std::vector<std::string>{"acquire", "release"})) << i;
    }
}

TEST(Backlog, R19_the_order_holds_for_a_connection_that_is_still_being_made) {
    World world{3};
    world[sick].connect_time = 30ms;
    auto locks = connect_to(world);
    ASSERT_TRUE(locks.try_lock("name", 10s));
    world.clock.advance(50ms);
    for (int i = 0; i < 3; ++i) ASSERT_TRUE(locks.try_lock("other", 10s));
    world.let_arrive();
    EXPECT_FALSE(world.get(sick, "name"));
}

TEST(Backlog, R19_a_slow_node_is_not_disconnected_for_being_slow) {
    World world{3};
    auto locks = connected_to(world);
    world.hang(sick);
    for (int i = 0; i < 20; ++i) {
        ASSERT_TRUE(locks.try_lock("name", 10s));
        world.clock.advance(1s);
    }
    EXPECT_EQ(world.handed_to(sick, "acquire").size(), 20U);
    EXPECT_EQ(world[sick].connection, 0U);
    world.resume(sick);
    world.let_arrive();
    EXPECT_EQ(world.count_holding("name"), 0U);
    auto lock = locks.try_lock("name", 10s);
    ASSERT_TRUE(lock);
    world.clock.advance(10ms);
    EXPECT_EQ(lock->nodes()[sick].vote, Vote::granted);
}

TEST(Backlog, R19_past_the_bound_a_node_votes_timeout_and_is_sent_nothing) {
    Options options = plain_options();
    options.backlog = 16;
    World world{3};
    auto locks = connected_to(world, options);
    world.hang(sick);
    for (int i = 0; i < 40; ++i) {
        auto lock = locks.try_lock("name", 10s);
        ASSERT_TRUE(lock);
        if (i == 39) {
            EXPECT_EQ(lock->nodes()[sick].vote, Vote::timeout);
            EXPECT_FALSE(lock->nodes()[sick].detail.empty());
        }
    }
    EXPECT_LE(world.handed_to(sick, "acquire").size(), 16U);
    world.resume(sick);
    world.clock.advance(1s);
    static_cast<void>(locks.try_lock("other", 10s));
    world.clock.advance(1s);
    auto lock = locks.try_lock("name", 10s);
    ASSERT_TRUE(lock);
    world.clock.advance(10ms);
    EXPECT_EQ(lock->nodes()[sick].vote, Vote::granted) << "and votes again when it has caught up";
}

// A hung node must not cost memory without limit, releases included.
TEST(Backlog, R19_releases_are_bounded_as_well) {
    Options options = plain_options();
    options.backlog = 16;
    World world{3};
    auto locks = connected_to(world, options);
    std::vector<ScriptedRedlock::lock_type> held;
    for (int i = 0; i < 100; ++i) {
        held.push_back(locks.try_lock(std::to_string(i), 1h).value());
        world.clock.advance(1ms);
    }
    world.hang(sick);
    world.forget_handed();
    for (int i = 0; i < 300; ++i) {
        if (i % 2 == 0) world.put(0, "name", "another", 1h);
        if (i % 2 == 1) world.erase(0, "name");
        static_cast<void>(locks.try_lock("name", 1h));
    }
    held.clear();
    for (int i = 0; i < 50; ++i) static_cast<void>(locks.try_lock("other", 1h));
    EXPECT_LE(world.handed_to(sick).size(), 3 * 16U);
}

// Requests that were lost with a broken connection no longer count as unanswered.
TEST(Backlog, R19_the_bound_on_bytes_counts_what_is_on_its_way_on_this_connection) {
    World world{3};
    auto locks = connected_to(world);
    std::vector<std::string> large;
    for (char letter = 'a'; letter < 'i'; ++letter) large.emplace_back(60'000, letter);
    for (int i = 0; i < 10; ++i) {
        world.hang(sick);
        for (int n = 0; n < 8; ++n) {  // about 8 MB, with the releases
            const auto lock = locks.try_lock(large, 10s);
            ASSERT_TRUE(lock) << lock.error().message();
        }
        world.cut(sick);
        world.resume(sick);
        for (int n = 0; n < 3; ++n) {
            world.clock.advance(2s);
            ASSERT_TRUE(locks.try_lock("other", 1s));
        }
        world.forget_handed();
    }
    auto lock = locks.try_lock("name", 10s);
    ASSERT_TRUE(lock);
    world.clock.advance(10ms);
    EXPECT_EQ(lock->nodes()[sick].vote, Vote::granted) << lock->nodes()[sick].detail;
}

TEST(PendingReleases, R20_a_release_that_a_lost_connection_swallowed_goes_out_with_the_next_one) {
    World world{3};
    auto locks = connected_to(world);
    ASSERT_TRUE(locks.try_lock("name", 10s)) << "and unlocked";
    world.let_arrive();
    auto lock = locks.try_lock("name", 10s);
    ASSERT_TRUE(lock);
    world.let_arrive();
    ASSERT_TRUE(world.get(sick, "name"));
    world.refuse(sick);
    ASSERT_TRUE(lock->unlock());
    ASSERT_TRUE(world.get(sick, "name"));
    world.forget_handed();  // before it serves again: from then on the release may go out at any moment
    world.resume(sick);
    for (int i = 0; i < 3; ++i) {
        world.clock.advance(100ms);
        ASSERT_TRUE(locks.try_lock("other", 10s));
    }
    world.let_arrive();
    EXPECT_FALSE(world.get(sick, "name"));
    ASSERT_FALSE(kinds_at(world, sick).empty());
    EXPECT_EQ(kinds_at(world, sick).front(), "release") << "before anything new";
}

TEST(PendingReleases, R20_a_release_that_was_in_flight_when_the_connection_broke_is_pending) {
    World world{3};
    auto locks = connected_to(world);
    auto lock = locks.try_lock("name", 10s);
    ASSERT_TRUE(lock);
    world.let_arrive();
    world.hang(sick);
    ASSERT_TRUE(lock->unlock());
    world.cut(sick, World::OnTheirWay::vanish);
    world.resume(sick);
    for (int i = 0; i < 3; ++i) {
        world.clock.advance(100ms);
        ASSERT_TRUE(locks.try_lock("other", 10s));
    }
    world.let_arrive();
    EXPECT_FALSE(world.get(sick, "name"));
}

TEST(PendingReleases, R20_nothing_is_pending_where_nothing_was_sent) {
    World world{3};
    world.refuse(sick);
    auto locks = connect_to(world);
    ASSERT_TRUE(locks.try_lock("name", 10s));
    world.resume(sick);
    world.clock.advance(100ms);
    ASSERT_TRUE(locks.try_lock("other", 10s));
    world.let_arrive();
    for (const Handed& one : world.handed_to(sick, "release")) EXPECT_NE(one.request.at(3), "name");
}

TEST(PendingReleases, R20_none_is_kept_when_the_ttl_has_done_its_work) {
    World world{3};
    auto locks = connected_to(world);
    auto lock = locks.try_lock("name", 1s);
    ASSERT_TRUE(lock);
    world.let_arrive();
    world.refuse(sick);
    ASSERT_TRUE(lock->unlock());
    world.clock.advance(5s);
    world.forget_handed();
    world.resume(sick);
    ASSERT_TRUE(locks.try_lock("other", 10s));
    world.clock.advance(100ms);
    ASSERT_TRUE(locks.try_lock("other", 10s));
    for (const Handed& one : world.handed_to(sick, "release")) EXPECT_NE(one.request.at(3), "name");
}

TEST(PendingReleases, R20_a_release_that_a_loading_node_refused_is_repeated) {
    World world{3};
    auto locks = connected_to(world);
    auto lock = locks.try_lock("name", 10s);
    ASSERT_TRUE(lock);
    world.let_arrive();
    world[sick].says = [](const Request&) {
        return ScriptedReply::error("LOADING Redis is loading the dataset in memory");
    };
    ASSERT_TRUE(lock->unlock());
    world.let_arrive();
    ASSERT_TRUE(locks.try_lock("other", 10s)) << "what the node says is heard";
    world[sick].says = {};
    for (int i = 0; i < 3; ++i) {
        world.clock.advance(100ms);
        ASSERT_TRUE(locks.try_lock("other", 10s));
    }
    world.let_arrive();
    EXPECT_FALSE(world.get(sick, "name"));
}

// The key may be there although the acquire was never answered.
TEST(PendingReleases, R20_the_release_of_a_key_that_was_put_back_is_pending) {
    World world{3};
    auto locks = connected_to(world);
    world.refuse(sick);
    world.clock.advance(1s);
    ASSERT_TRUE(locks.try_lock("other", 10s)) << "by now it is known that it is down";
    auto lock = locks.try_lock("name", 10s);
    ASSERT_TRUE(lock);
    ASSERT_EQ(lock->nodes()[sick].vote, Vote::unreachable);
    ASSERT_TRUE(world.handed_to(sick).empty() || world.handed_to(sick).back().request.at(1) != "name");
    world.resume(sick);
    for (int i = 0; i < 3; ++i) {
        world.clock.advance(1s);
        ASSERT_TRUE(lock->extend(10s)) << "which finds nothing there, and puts it back";
    }
    world.let_arrive();
    ASSERT_EQ(world.get(sick, "name"), lock->token().str());
    world.refuse(sick);
    ASSERT_TRUE(lock->unlock());
    world.resume(sick);
    for (int i = 0; i < 3; ++i) {
        world.clock.advance(1s);
        ASSERT_TRUE(locks.try_lock("other", 10s));
    }
    world.let_arrive();
    EXPECT_FALSE(world.get(sick, "name"));
}

// A node has one vote in a round, however often it is asked.
TEST(PendingReleases, R17_a_node_that_refuses_a_release_again_and_again_votes_once) {
    Options options = plain_options();
    options.node_timeout = 2s;
    World world{3};
    auto locks = connected_to(world, options);
    auto lock = locks.try_lock("name", 10s);
    ASSERT_TRUE(lock);
    world.let_arrive();
    world[0].says = [](const Request&) {
        return ScriptedReply::error("LOADING Redis is loading the dataset in memory");
    };
    world[1].round_trip = 1500ms;
    world[sick].round_trip = 1500ms;
    const auto unlocked = lock->unlock();
    EXPECT_TRUE(unlocked) << unlocked.error().message();
    EXPECT_GT(world.handed_to(0, "release").size(), 2U) << "it was asked again";
}

TEST(PendingReleases, R22_a_node_that_is_down_costs_no_time) {
    World world{5};
    auto locks = connected_to(world);
    world.refuse(0);
    world.refuse(1);
    for (int i = 0; i < 10; ++i) {
        const auto before = world.clock.now();
        ASSERT_TRUE(locks.try_lock("name", 10s));
        EXPECT_LE(world.clock.now() - before, 1ms);
    }
}

}  // namespace
}  // namespace redlock::test

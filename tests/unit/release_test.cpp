// SPDX-License-Identifier: Apache-2.0
// Releasing, rules R16 to R18, and what the states of a Lock allow, over nodes in memory.
#include <gtest/gtest.h>

#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "support/eventually.hpp"
#include "unit/scripted_world.hpp"

namespace redlock::test {
namespace {

TEST(Release, R16_one_script_to_all_nodes_and_never_a_plain_delete) {
    World world{5};
    auto locks = connected_to(world);
    auto lock = locks.try_lock("name", 10s);
    ASSERT_TRUE(lock);
    ASSERT_TRUE(lock->unlock());
    world.let_arrive();
    EXPECT_EQ(world.handed("release").size(), 5U);
    EXPECT_EQ(world.count_holding("name"), 0U);
    for (const Handed& one : world.handed()) {
        EXPECT_NE(one.request.at(0), "DEL");
        EXPECT_NE(one.request.at(0), "UNLINK");
    }
}

TEST(Release, R16_what_another_holds_meanwhile_is_not_touched) {
    World world{3};
    auto locks = connected_to(world);
    auto lock = locks.try_lock("name", 1s);
    ASSERT_TRUE(lock);
    world.clock.advance(2s);
    for (std::size_t i = 0; i < 3; ++i) world.put(i, "name", "another");
    EXPECT_EQ(lock->unlock().error().code(), errc::lost);
    world.let_arrive();
    EXPECT_EQ(world.count_holding("name"), 3U);
}

// DESIGN 10: "unlock stops at the first dead node and leaves keys on the rest".
TEST(Release, R16_a_dead_node_keeps_no_other_from_being_released) {
    World world{5};
    auto locks = connected_to(world);
    auto lock = locks.try_lock("name", 10s);
    ASSERT_TRUE(lock);
    world.let_arrive();
    world.refuse(0);
    world.hang(1);
    EXPECT_TRUE(lock->unlock());
    world.let_arrive();
    for (std::size_t i = 2; i < 5; ++i) EXPECT_FALSE(world.get(i, "name")) << i;
}

TEST(Release, R17_returns_when_a_quorum_has_answered) {
    World world{5};
    auto locks = connected_to(world);
    auto lock = locks.try_lock("name", 10s);
    ASSERT_TRUE(lock);
    const Nanoseconds round_trips[] = {49ms, 1ms, 3ms, 2ms, 48ms};
    for (std::size_t i = 0; i < 5; ++i) world[i].round_trip = round_trips[i];
    const auto before = world.clock.now();
    EXPECT_TRUE(lock->unlock());
    EXPECT_EQ(world.clock.now() - before, 3ms);
}

TEST(Release, R17_what_no_quorum_confirmed_is_unknown) {
    World world{5};
    auto locks = connected_to(world);
    auto lock = locks.try_lock("name", 10s);
    ASSERT_TRUE(lock);
    for (std::size_t i = 0; i < 3; ++i) world.hang(i);
    const auto before = world.clock.now();
    const auto unlocked = lock->unlock();
    ASSERT_FALSE(unlocked);
    EXPECT_EQ(unlocked.error().code(), errc::unknown);
    EXPECT_EQ(world.clock.now() - before, Options{}.node_timeout);
    EXPECT_FALSE(lock->owns_lock()) << "whatever came of it, it is given up";
    EXPECT_EQ(unlocked.error().nodes().size(), 5U);
}

TEST(Release, R17_an_expired_lock_is_released_and_called_lost) {
    World world{3};
    auto locks = connected_to(world);
    auto lock = locks.try_lock("name", 1s);
    ASSERT_TRUE(lock);
    world.clock.advance(990ms);  // the validity is over, the keys still exist
    world.forget_handed();
    const auto before = world.clock.now();
    const auto unlocked = lock->unlock();
    ASSERT_FALSE(unlocked);
    EXPECT_EQ(unlocked.error().code(), errc::lost);
    EXPECT_EQ(world.clock.now(), before);
    EXPECT_EQ(world.handed("release").size(), 3U);
}

TEST(Release, R17_a_lock_that_is_not_ours_any_more_is_called_lost) {
    World world{3};
    auto locks = connected_to(world);
    auto lock = locks.try_lock("name", 10s);
    ASSERT_TRUE(lock);
    world.let_arrive();
    for (std::size_t i = 0; i < 3; ++i) world.erase(i, "name");
    const auto unlocked = lock->unlock();
    ASSERT_FALSE(unlocked);
    EXPECT_EQ(unlocked.error().code(), errc::lost);
}

TEST(Release, R17_unlocking_twice_is_a_status_and_sends_nothing) {
    World world{3};
    auto locks = connected_to(world);
    auto lock = locks.try_lock("name", 10s);
    ASSERT_TRUE(lock);
    ASSERT_TRUE(lock->unlock());
    world.forget_handed();
    EXPECT_EQ(lock->unlock().error().code(), errc::lost);
    EXPECT_TRUE(world.handed().empty());
}

// DESIGN 10: "destructor throws → terminate".
TEST(Release, R17_the_destructor_unlocks_and_waits_no_longer_than_node_timeout) {
    World world{3};
    auto locks = connected_to(world);
    {
        const auto lock = locks.try_lock("name", 10s);
        ASSERT_TRUE(lock);
    }
    world.let_arrive();
    EXPECT_EQ(world.count_holding("name"), 0U);
    std::optional<ScriptedRedlock::lock_type> lock = locks.try_lock("name", 10s).value();
    for (std::size_t i = 0; i < 3; ++i) world.hang(i);
    const auto before = world.clock.now();
    lock.reset();
    EXPECT_EQ(world.clock.now() - before, Options{}.node_timeout);
}

TEST(Release, R18_the_last_redlock_waits_for_what_is_in_flight) {
    World world{3};
    {
        auto locks = connected_to(world);
        world[2].round_trip = 20ms;
        ASSERT_TRUE(locks.try_lock("name", 10s)) << "and unlocked at once";
    }
    EXPECT_EQ(world.count_holding("name"), 0U);
}

TEST(Release, R18_the_last_redlock_waits_no_longer_than_node_timeout) {
    World world{3};
    auto locks = std::make_unique<ScriptedRedlock>(connected_to(world));
    world.hang(2);
    ASSERT_TRUE(locks->try_lock("name", 10s));
    const auto before = world.clock.now();
    locks.reset();
    EXPECT_EQ(world.clock.now() - before, Options{}.node_timeout);
}

TEST(Release, R18_the_last_redlock_waits_for_nothing_when_nothing_is_in_flight) {
    World world{3};
    auto locks = std::make_unique<ScriptedRedlock>(connected_to(world));
    const auto before = world.clock.now();
    locks.reset();
    EXPECT_EQ(world.clock.now(), before);
    auto unused = std::make_unique<ScriptedRedlock>(connect_to(world));
    unused.reset();
    EXPECT_EQ(world.clock.now(), before);
}

TEST(Release, a_lock_may_outlive_its_redlock) {
    World world{3};
    auto locks = std::make_unique<ScriptedRedlock>(connected_to(world));
    auto lock = locks->try_lock("name", 10s);
    ASSERT_TRUE(lock);
    locks.reset();
    EXPECT_TRUE(lock->owns_lock());
    EXPECT_TRUE(lock->extend(20s));
    EXPECT_TRUE(lock->unlock());
    world.let_arrive();
    EXPECT_EQ(world.count_holding("name"), 0U);
}

TEST(Release, moving_a_lock_moves_the_duty_to_unlock) {
    World world{3};
    auto locks = connected_to(world);
    auto first = locks.try_lock("first", 10s).value();
    auto second = locks.try_lock("second", 10s).value();
    world.let_arrive();
    first = std::move(second);
    world.let_arrive();
    EXPECT_EQ(world.count_holding("first"), 0U) << "what the target held was unlocked";
    EXPECT_EQ(world.count_holding("second"), 3U);
    EXPECT_EQ(first.resource(), "second");
    EXPECT_FALSE(second.owns_lock());  // NOLINT(bugprone-use-after-move): its state is documented
    EXPECT_EQ(second.remaining(), 0ns);
    EXPECT_TRUE(second.resource().empty());
    EXPECT_TRUE(second.token().str().empty());
    EXPECT_FALSE(second.lost().stop_possible());
    EXPECT_EQ(second.unlock().error().code(), errc::lost);
    EXPECT_EQ(second.extend(1s).error().code(), errc::lost);
}

TEST(Release, a_detached_lock_leaves_its_keys) {
    World world{3};
    auto locks = connected_to(world);
    {
        auto lock = locks.try_lock("name", 10s).value();
        const Token token = lock.token();
        const Handoff handoff = lock.detach();
        EXPECT_EQ(handoff.token, token);
        EXPECT_EQ(handoff.resources, (std::vector<std::string>{"name"}));
        EXPECT_FALSE(lock.owns_lock());
        EXPECT_TRUE(lock.detach().token.str().empty());
    }
    world.let_arrive();
    EXPECT_EQ(world.count_holding("name"), 3U);
}

TEST(Release, unlocking_does_not_trigger_lost) {
    World world{3};
    auto locks = connected_to(world);
    auto lock = locks.try_lock("name", 10s).value();
    const auto lost = lock.lost();
    EXPECT_TRUE(lost.stop_possible());
    ASSERT_TRUE(lock.unlock());
    world.clock.advance(20s);
    ASSERT_TRUE(locks.try_lock("other", 10s));
    EXPECT_FALSE(lost.stop_requested());
}

// DESIGN 10: "loss signalled only after a hung node's timeout, after the lease is over".
TEST(Release, R15_lost_is_triggered_when_the_validity_ends_with_no_network_at_all) {
    World world{3};
    auto locks = connected_to(world);
    const auto lock = locks.try_lock("name", 300ms);
    ASSERT_TRUE(lock);
    for (std::size_t i = 0; i < 3; ++i) world.hang(i);
    const auto lost = lock->lost();
    EXPECT_FALSE(lost.stop_requested());
    world.clock.advance(lock->remaining() + 1ns);
    EXPECT_TRUE(eventually(5s, [&] { return lost.stop_requested(); }));
    EXPECT_TRUE(lock->lost().stop_requested());
}

TEST(Release, R15_lost_that_is_first_asked_for_after_the_end_is_triggered_already_or_at_once) {
    World world{3};
    auto locks = connected_to(world);
    const auto lock = locks.try_lock("name", 300ms);
    ASSERT_TRUE(lock);
    world.clock.advance(1s);
    EXPECT_TRUE(eventually(5s, [&] { return lock->lost().stop_requested(); }));
}

}  // namespace
}  // namespace redlock::test

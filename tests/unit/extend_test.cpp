// SPDX-License-Identifier: Apache-2.0
// Extending and putting back, rules R10 to R13, over nodes in memory.
#include <gtest/gtest.h>

#include <string>
#include <thread>

#include "redlock/voting/quorum.hpp"
#include "support/eventually.hpp"
#include "unit/scripted_world.hpp"

namespace redlock::test {
namespace {

Nanoseconds validity_of(std::chrono::milliseconds ttl) { return ttl - detail::drift_of(ttl, Options{}); }

TEST(Extend, R10_the_new_validity_counts_from_before_the_send) {
    World world{5};
    auto locks = connected_to(world);
    auto lock = locks.try_lock("name", 10s);
    ASSERT_TRUE(lock);
    world.clock.advance(5s);
    world.cost_of_sending = 1ms;
    const auto before = world.clock.now();
    ASSERT_TRUE(lock->extend(20s));
    EXPECT_EQ(lock->expires_at(), before + validity_of(20s));
    world.let_arrive();
    for (std::size_t i = 0; i < 5; ++i) {
        const auto left = world[i].memory.time_to_live("name", world.clock.now().time_since_epoch());
        EXPECT_GT(left, 19s);
    }
}

TEST(Extend, R10_one_script_goes_to_all_nodes_and_a_quorum_is_enough) {
    World world{5};
    auto locks = connected_to(world);
    auto lock = locks.try_lock("name", 10s);
    ASSERT_TRUE(lock);
    world.hang(0);
    world.refuse(1);
    const auto before = world.clock.now();
    EXPECT_TRUE(lock->extend(10s));
    EXPECT_LE(world.clock.now() - before, 1ms);
    EXPECT_GE(world.handed("extend").size(), 4U);
}

// DESIGN 10: "extend reports success when the key is absent or someone else's".
TEST(Extend, R10_only_an_explicit_yes_counts) {
    const ScriptedReply no_answers[] = {
        ScriptedReply::nil(),       ScriptedReply::ok(),
        ScriptedReply::number(0),   ScriptedReply::number(-1),
        ScriptedReply::number(2),   ScriptedReply::list({1}),
        ScriptedReply::error("no"), {ScriptedReply::Kind::text, 0, "1", {}},
    };
    for (const ScriptedReply& answer : no_answers) {
        World world{3};
        auto locks = connected_to(world);
        auto lock = locks.try_lock("name", 10s);
        ASSERT_TRUE(lock);
        for (const std::size_t i : {0U, 1U}) {
            world[i].says = [&](const Request&) { return answer; };
        }
        const auto until = lock->expires_at();
        EXPECT_FALSE(lock->extend(20s)) << answer.integer << answer.text;
        EXPECT_EQ(lock->expires_at(), until);
        for (std::size_t i = 0; i < 3; ++i) world[i].says = {};
    }
}

// CASES 9: the round must end before the old deadline, or another client may have held it in between.
TEST(Extend, R10_an_extension_that_ends_after_the_old_deadline_does_not_count) {
    World world{3};
    auto locks = connected_to(world);
    auto lock = locks.try_lock("name", 10s);
    ASSERT_TRUE(lock);
    ASSERT_TRUE(lock->extend(10s)) << "so that the nodes know the script";
    world.let_arrive();
    static_cast<void>(lock->nodes());
    world.clock.advance(9s);
    world.before_telling = [&] { world.clock.advance(2s); };  // paused while the replies are in flight
    const auto until = lock->expires_at();
    const auto extended = lock->extend(10s);
    ASSERT_FALSE(extended);
    EXPECT_EQ(extended.error().code(), errc::unknown);
    EXPECT_EQ(lock->expires_at(), until);
    EXPECT_FALSE(lock->owns_lock());
}

TEST(Extend, R10_it_waits_no_longer_than_the_old_validity) {
    World world{3};
    auto locks = connected_to(world);
    auto lock = locks.try_lock("name", 100ms);
    ASSERT_TRUE(lock);
    world.clock.advance(80ms);
    for (std::size_t i = 0; i < 3; ++i) world.hang(i);
    EXPECT_FALSE(lock->extend(10s));
    EXPECT_EQ(world.clock.now(), lock->expires_at());
}

// CASES 10.
TEST(Extend, R10_a_shorter_ttl_lowers_the_deadline_before_the_send_whatever_comes_back) {
    World world{3};
    auto locks = connected_to(world);
    auto lock = locks.try_lock("name", 10s);
    ASSERT_TRUE(lock);
    for (std::size_t i = 0; i < 3; ++i) world.hang(i);
    const auto before = world.clock.now();
    const auto extended = lock->extend(1s);
    ASSERT_FALSE(extended);
    EXPECT_EQ(extended.error().code(), errc::unknown);
    EXPECT_EQ(lock->expires_at(), before + validity_of(1s));
}

TEST(Extend, R11_a_quorum_that_says_no_means_lost_and_lost_is_told_and_nothing_more_is_sent) {
    World world{3};
    world.all_move_time = true;
    auto locks = connected_to(world);
    auto lock = locks.try_lock("name", 10s);
    ASSERT_TRUE(lock);
    const auto lost = lock->lost();
    world.put(0, "name", "another");
    world.put(1, "name", "another");
    const auto extended = lock->extend(10s);
    ASSERT_FALSE(extended);
    EXPECT_EQ(extended.error().code(), errc::lost);
    EXPECT_EQ(extended.error().nodes().size(), 3U);
    EXPECT_FALSE(lock->owns_lock());
    EXPECT_TRUE(eventually(5s, [&] { return lost.stop_requested(); }));
    world.forget_handed();
    EXPECT_EQ(lock->extend(10s).error().code(), errc::lost);
    EXPECT_TRUE(world.handed("extend").empty());
}

// Where a node is down or their number is even, the first no makes a quorum impossible; more noes follow.
TEST(Extend, R11_a_quorums_no_is_waited_for_where_no_quorum_can_say_yes) {
    for (const std::size_t count : {std::size_t{3}, std::size_t{4}}) {
        World world{count};
        auto locks = connected_to(world);
        auto lock = locks.try_lock("name", 10s);
        ASSERT_TRUE(lock);
        world.let_arrive();
        if (count == 3) world.refuse(2);
        static_cast<void>(locks.try_lock("finds out", 10s));
        for (std::size_t i = 0; i < count; ++i) {
            world.erase(i, "name");
            world[i].round_trip = std::chrono::milliseconds{1 + 10 * i};
        }
        const auto extended = lock->extend(10s);
        ASSERT_FALSE(extended);
        EXPECT_EQ(extended.error().code(), errc::lost) << extended.error().message();
    }
}

TEST(Extend, R11_a_no_that_does_not_come_is_waited_for_no_longer_than_node_timeout) {
    World world{3};
    auto locks = connected_to(world);
    auto lock = locks.try_lock("name", 10s);
    ASSERT_TRUE(lock);
    world.let_arrive();
    world.erase(0, "name");
    world.hang(1);
    world.hang(2);
    const auto before = world.clock.now();
    EXPECT_EQ(lock->extend(10s).error().code(), errc::unknown);
    EXPECT_EQ(world.clock.now() - before, Options{}.node_timeout);
}

// DESIGN 10: "one node down during auto-extend: lock treated as lost".
TEST(Extend, R11_nodes_that_say_nothing_make_it_unknown_and_the_old_deadline_stands) {
    World world{5};
    auto locks = connected_to(world);
    auto lock = locks.try_lock("name", 10s);
    ASSERT_TRUE(lock);
    const auto until = lock->expires_at();
    world.hang(0);
    world.hang(1);
    world.refuse(2);
    const auto extended = lock->extend(20s);
    ASSERT_FALSE(extended);
    EXPECT_EQ(extended.error().code(), errc::unknown);
    EXPECT_EQ(lock->expires_at(), until);
    EXPECT_TRUE(lock->owns_lock());
    world.resume(0);
    world.clock.advance(100ms);
    EXPECT_TRUE(lock->extend(20s)) << "with a quorum back it can be extended still";
}

TEST(Extend, R12_a_key_that_vanished_on_a_minority_is_put_back_with_our_token) {
    World world{5};
    auto locks = connected_to(world);
    auto lock = locks.try_lock("name", 10s);
    ASSERT_TRUE(lock);
    world.let_arrive();
    world.erase(0, "name");
    world.erase(3, "name");
    ASSERT_TRUE(lock->extend(10s));
    world.let_arrive();
    ASSERT_TRUE(lock->extend(10s)) << "nodes that were too late with their word the first time";
    world.let_arrive();
    EXPECT_EQ(world.count_holding("name"), 5U);
    EXPECT_EQ(world.get(0, "name"), lock->token().str());
}

// CASES 11; DESIGN 10: "refresh silently re-acquires after expiry".
TEST(Extend, R12_a_gap_on_a_quorum_is_a_loss_and_nothing_is_put_back) {
    World world{5};
    auto locks = connected_to(world);
    auto lock = locks.try_lock("name", 10s);
    ASSERT_TRUE(lock);
    world.let_arrive();
    for (std::size_t i = 0; i < 3; ++i) world.erase(i, "name");
    const auto extended = lock->extend(10s);
    ASSERT_FALSE(extended);
    EXPECT_EQ(extended.error().code(), errc::lost);
    world.let_arrive();
    EXPECT_TRUE(world.handed("put_back").empty());
    EXPECT_EQ(world.count_holding("name"), 2U);
}

TEST(Extend, R12_a_node_put_back_does_not_count_in_that_round) {
    World world{5};
    auto locks = connected_to(world);
    auto lock = locks.try_lock("name", 10s);
    ASSERT_TRUE(lock);
    world.let_arrive();
    world.erase(0, "name");
    world.erase(1, "name");
    world.hang(
        2);  // two grant, two have no key, one does not answer: it is unknown whether a quorum holds it
    const auto until = lock->expires_at();
    const auto extended = lock->extend(20s);
    ASSERT_FALSE(extended);
    EXPECT_EQ(extended.error().code(), errc::unknown);
    EXPECT_EQ(lock->expires_at(), until);
    EXPECT_TRUE(world.handed("put_back").empty());
}

TEST(Extend, R12_a_key_that_another_has_taken_on_a_minority_is_left_to_it) {
    World world{5};
    auto locks = connected_to(world);
    auto lock = locks.try_lock("name", 10s);
    ASSERT_TRUE(lock);
    world.let_arrive();
    world.put(0, "name", "another");
    for (int i = 0; i < 2; ++i) {
        ASSERT_TRUE(lock->extend(10s));
        world.let_arrive();
    }
    EXPECT_EQ(world.get(0, "name"), "another");
}

// DESIGN 10: "renewal racing unlock makes an immortal lock".
TEST(Extend, R13_after_unlock_nothing_extends) {
    World world{3};
    auto locks = connected_to(world);
    auto lock = locks.try_lock("name", 10s);
    ASSERT_TRUE(lock);
    ASSERT_TRUE(lock->unlock());
    world.forget_handed();
    const auto extended = lock->extend(10s);
    ASSERT_FALSE(extended);
    EXPECT_EQ(extended.error().code(), errc::lost);
    EXPECT_TRUE(world.handed().empty());
}

TEST(Extend, R13_a_renewal_under_way_when_unlock_begins_leaves_nothing_behind) {
    World world{3};
    world.all_move_time = true;
    auto locks = connected_to(world);
    auto lock = locks.lock("name", {.ttl = 10s, .renew = true});
    ASSERT_TRUE(lock);
    ASSERT_TRUE(lock->extend(10s));  // so that the nodes know the script
    world.let_arrive();
    static_cast<void>(lock->nodes());
    world.forget_handed();
    for (std::size_t i = 0; i < 3; ++i) world.hang(i);
    world.clock.advance(5s);  // renewal is due at a third of what is left
    ASSERT_TRUE(eventually(10s, [&] { return world.handed("extend").size() >= 3; }));
    EXPECT_FALSE(lock->unlock());
    for (std::size_t i = 0; i < 3; ++i) world.resume(i);
    world.let_arrive();
    EXPECT_EQ(world.count_holding("name"), 0U);
    const std::size_t extended = world.handed("extend").size();
    world.clock.advance(30s);
    EXPECT_TRUE(locks.try_lock("other", 10s));
    EXPECT_EQ(world.handed("extend").size(), extended);
    EXPECT_EQ(world.count_holding("name"), 0U);
}

TEST(Extend, a_ttl_that_leaves_no_validity_is_refused_and_changes_nothing) {
    World world{3};
    auto locks = connected_to(world);
    auto lock = locks.try_lock("name", 10s);
    ASSERT_TRUE(lock);
    const auto until = lock->expires_at();
    world.forget_handed();
    for (const auto ttl : {0ms, -5ms, 2ms, std::chrono::milliseconds{8'761h}}) {
        const auto extended = lock->extend(ttl);
        ASSERT_FALSE(extended);
        EXPECT_EQ(extended.error().code(), errc::invalid_argument) << ttl.count();
        EXPECT_NE(extended.error().message().find(std::to_string(ttl.count()) + " ms"), std::string::npos);
    }
    EXPECT_EQ(lock->expires_at(), until);
    EXPECT_TRUE(world.handed().empty());
}

// It once said "the validity had ended" in every case.
TEST(Extend, R10_says_why_it_cannot_be_extended_any_more) {
    World world{3};
    auto locks = connected_to(world);
    const auto message_of = [](auto& lock) {
        auto extended = lock.extend(10s);
        return extended ? std::string{} : extended.error().message();
    };
    auto ended = locks.try_lock("ended", 10s);
    world.clock.advance(11s);
    EXPECT_NE(message_of(*ended).find("the validity of 'ended' had ended"), std::string::npos)
        << message_of(*ended);

    auto unlocked = locks.try_lock("unlocked", 10s);
    EXPECT_TRUE(unlocked->unlock());
    EXPECT_NE(message_of(*unlocked).find("'unlocked' was given up before"), std::string::npos)
        << message_of(*unlocked);

    auto revoked = locks.try_lock("revoked", 10s);
    for (std::size_t i = 0; i < 3; ++i) world.erase(i, "revoked");
    EXPECT_FALSE(revoked->extend(10s));
    EXPECT_FALSE(revoked->owns_lock());
    EXPECT_NE(message_of(*revoked).find("the nodes have said that 'revoked' is not ours any more"),
              std::string::npos)
        << message_of(*revoked);
}

}  // namespace
}  // namespace redlock::test

// SPDX-License-Identifier: Apache-2.0
// Adopting a lease that another client held, over nodes in memory.
#include <gtest/gtest.h>

#include <string>

#include "redlock/voting/claim.hpp"
#include "unit/scripted_world.hpp"

namespace redlock::test {
namespace {

const Token passed_on = Token::parse("passed-on");

// Puts the keys there that another process left.
void leave_on(World& world, std::size_t count) {
    for (std::size_t i = 0; i < count; ++i) world.put(i, "name", passed_on.str());
}

TEST(Adopt, takes_over_what_a_quorum_holds_by_that_token) {
    World world{3};
    auto locks = connected_to(world);
    leave_on(world, 2);
    auto lock = locks.adopt("name", passed_on, 20s);
    ASSERT_TRUE(lock) << lock.error().message();
    EXPECT_EQ(lock->token(), passed_on);
    EXPECT_GT(lock->remaining(), 19s);
    EXPECT_TRUE(lock->unlock());
    world.let_arrive();
    EXPECT_EQ(world.count_holding("name"), 0U);
}

TEST(Adopt, takes_nothing_that_only_a_minority_holds) {
    World world{3};
    auto locks = connected_to(world);
    leave_on(world, 1);
    const auto lock = locks.adopt("name", passed_on, 20s);
    ASSERT_FALSE(lock);
    EXPECT_EQ(lock.error().code(), errc::lost);
}

TEST(Adopt, R1_the_validity_counts_from_before_the_send) {
    World world{3};
    auto locks = connected_to(world);
    leave_on(world, 3);
    const auto before = world.clock.now();
    const auto lock = locks.adopt("name", passed_on, 20s);
    ASSERT_TRUE(lock);
    EXPECT_GT(world.clock.now(), before);
    EXPECT_LT(lock->expires_at() - before, 20s);
}

TEST(Adopt, R4_nothing_is_taken_over_whose_validity_is_over) {
    World world{3};
    auto locks = connected_to(world);
    leave_on(world, 3);
    ASSERT_TRUE(locks.adopt("name", passed_on, 20s)) << "so that the nodes know the script";
    world.let_arrive();
    leave_on(world, 3);
    for (std::size_t i = 0; i < 3; ++i) world[i].round_trip = 40ms;
    const auto lock = locks.adopt("name", passed_on, 41ms);
    ASSERT_FALSE(lock);
    EXPECT_EQ(lock.error().code(), errc::too_slow);
}

std::uint64_t counter_at(const World& world, std::size_t node) {
    return std::stoull(world.get(node, detail::fence_key("name")).value_or("0"));
}

// The previous holder had the counters' number, and its late writes must be refused.
TEST(Adopt, by_the_token_alone_gets_a_fencing_token_of_its_own) {
    World world{3};
    auto locks = connected_to(world, Options{});
    const std::uint64_t former = locks.try_lock("name", 10s)->fencing_token();
    world.let_arrive();
    leave_on(world, 3);  // as a client without fencing
    world.clock.set_wall_us(0);
    auto lock = locks.adopt("name", passed_on, 20s);
    ASSERT_TRUE(lock) << lock.error().message();
    EXPECT_GT(lock->fencing_token(), former);
    world.let_arrive();
    for (std::size_t i = 0; i < 3; ++i) EXPECT_EQ(counter_at(world, i), lock->fencing_token());
    EXPECT_TRUE(lock->unlock());
    EXPECT_GT(locks.try_lock("name", 10s)->fencing_token(), lock->fencing_token());
}

TEST(Adopt, what_was_never_fenced_gets_a_fencing_token_too) {
    World world{3};
    auto locks = connected_to(world, Options{});
    leave_on(world, 2);
    const auto lock = locks.adopt("name", passed_on, 20s);
    ASSERT_TRUE(lock) << lock.error().message();
    EXPECT_GT(lock->fencing_token(), 1'000'000'000'000'000U) << "at the height of the clock";
}

TEST(Adopt, agrees_on_the_largest_where_the_counters_differ) {
    World world{3};
    auto locks = connected_to(world, Options{});
    constexpr std::uint64_t ahead = 8'000'000'000'000'000;
    for (std::size_t i = 0; i < 3; ++i)
        world.put(i, detail::fence_key("name"), std::to_string(ahead + i), 1h);
    leave_on(world, 3);
    const auto lock = locks.adopt("name", passed_on, 20s);
    ASSERT_TRUE(lock) << lock.error().message();
    std::size_t committed = 0;
    world.let_arrive();
    for (std::size_t i = 0; i < 3; ++i) committed += counter_at(world, i) == lock->fencing_token() ? 1 : 0;
    EXPECT_GE(committed, 2U);
}

// When a Handoff is delivered twice, two clients adopt with one token, and the owner check cannot tell them
// apart.
class AdoptedTwice : public ::testing::Test {
   protected:
    static constexpr std::uint64_t ahead =
        8'000'000'000'000'000;  // ahead of the clock, so the counters decide

    void SetUp() override {
        set_counter(0, 4);
        set_counter(1, 5);
        leave_on(world, 3);
        world.refuse(2);  // only our connection is refused; the other client reaches the node
    }
    void set_counter(std::size_t node, std::uint64_t value) {
        world.put(node, detail::fence_key("name"), std::to_string(ahead + value), 1h);
    }
    // Our lock, when the counter of node 0 changes after node 0 has given us 5 and node 1 has given us 6.
    Result<ScriptedRedlock::lock_type> adopt_while_counter_becomes(std::uint64_t value) {
        become_once_granted(value);
        return locks.adopt("name", passed_on, 20s);
    }
    void become_once_granted(std::uint64_t value) {
        world.before_telling = [this, value] {
            counter_at(world, 0) == ahead + 5 ? set_counter(0, value) : become_once_granted(value);
        };
    }

    World world{3};
    ScriptedRedlock locks = connected_to(world, Options{});
};

TEST_F(AdoptedTwice, none_takes_the_number_that_a_node_gave_the_other) {
    const auto lock = adopt_while_counter_becomes(6);  // the other has 6 from node 0, and 6 from node 2
    ASSERT_TRUE(lock) << lock.error().message();
    EXPECT_GT(lock->fencing_token(), ahead + 6);
}

TEST_F(AdoptedTwice, only_the_first_commits_a_number) {
    const auto lock = adopt_while_counter_becomes(7);  // which the other has committed
    ASSERT_FALSE(lock) << "with the number " << lock->fencing_token() - ahead;
    EXPECT_EQ(lock.error().code(), errc::unknown) << lock.error().message();
    EXPECT_EQ(counter_at(world, 0), ahead + 7);
}

TEST(Adopt, says_of_each_node_whether_it_is_gone_or_anothers) {
    World world{3};
    for (const Options& options : {plain_options(), Options{}}) {
        auto locks = connected_to(world, options);
        for (std::size_t i = 0; i < 3; ++i) world.erase(i, "name");
        world.put(0, "name", "another");
        const auto lock = locks.adopt("name", passed_on, 20s);
        ASSERT_FALSE(lock);
        EXPECT_EQ(lock.error().code(), errc::lost);
        world.clock.advance(1s);
        EXPECT_EQ(lock.error().nodes().at(0).vote, Vote::denied);
        EXPECT_EQ(lock.error().nodes().at(1).vote, Vote::absent);
    }
}

// Adopted for less time than the keys have left: the release that a node missed stays pending until they end.
TEST(Adopt, R20_a_release_is_pending_for_as_long_as_the_keys_last) {
    World world{3};
    auto locks = connected_to(world);
    for (std::size_t i = 0; i < 3; ++i) world.put(i, "name", passed_on.str(), 60s);
    auto lock = locks.adopt("name", passed_on, 1s);
    ASSERT_TRUE(lock) << lock.error().message();
    world.let_arrive();
    world.refuse(2);
    ASSERT_TRUE(lock->unlock());
    world.clock.advance(5s);
    world.resume(2);
    for (int i = 0; i < 3; ++i) {
        world.clock.advance(100ms);
        ASSERT_TRUE(locks.try_lock("other", 10s));
    }
    world.let_arrive();
    EXPECT_FALSE(world.get(2, "name"));
}

// The ttl that the other nodes report holds for a node that does not answer: one holder set all the keys.
TEST(Adopt, R20_a_release_is_pending_for_as_long_on_a_node_that_never_answered) {
    World world{3};
    auto locks = connected_to(world);
    for (std::size_t i = 0; i < 3; ++i) world.put(i, "name", passed_on.str(), 60s);
    world.refuse(2);
    ASSERT_TRUE(locks.try_lock("first", 10s));  // notices that: nothing more is sent there
    auto lock = locks.adopt("name", passed_on, 1s);
    ASSERT_TRUE(lock) << lock.error().message();
    ASSERT_TRUE(lock->unlock());
    world.clock.advance(5s);
    world.resume(2);
    for (int i = 0; i < 3; ++i) {
        world.clock.advance(100ms);
        ASSERT_TRUE(locks.try_lock("other", 10s));
    }
    world.let_arrive();
    EXPECT_FALSE(world.get(2, "name"));
}

TEST(Adopt, R25_a_node_in_quarantine_gives_out_no_fencing_token) {
    Options options;
    options.restart_quarantine = 30s;
    World world{3};
    world[0].info.uptime = 1s;
    auto locks = connected_to(world, options);
    leave_on(world, 3);
    ASSERT_TRUE(locks.adopt("name", passed_on, 20s));
    EXPECT_TRUE(world.handed_to(0, "adopt").empty());
    EXPECT_FALSE(world.handed_to(1, "adopt").empty());
}

// A request that still waits for a connection at the hand-over could arrive after the next holder's unlock.
TEST(Adopt, R7_what_was_not_sent_before_the_hand_over_is_never_sent) {
    World world{3};
    auto locks = connected_to(world);
    world.cut(2);
    world[2].connect_time = 30ms;
    static_cast<void>(locks.try_lock("finds out", 10s));
    auto lock = locks.try_lock("name", 60s);
    ASSERT_TRUE(lock);
    const Handoff handoff = lock->detach();
    world.clock.advance(1s);
    ASSERT_TRUE(locks.try_lock("other", 10s));
    for (const Handed& one : world.handed_to(2, "acquire")) EXPECT_NE(one.request.at(1), "name");
}

// Its keys outlive its validity by the drift, and by more after extensions that were not confirmed.
TEST(Adopt, R7_nothing_is_left_of_a_lock_that_was_over_when_it_was_handed_on) {
    World world{3};
    auto locks = connected_to(world);
    auto lock = locks.try_lock("name", 10s);
    ASSERT_TRUE(lock);
    world.clock.advance(9950ms);
    ASSERT_EQ(world.count_holding("name"), 3U);
    ASSERT_FALSE(lock->owns_lock());
    EXPECT_FALSE(lock->detach());
    world.let_arrive();
    EXPECT_EQ(world.count_holding("name"), 0U);
    EXPECT_FALSE(lock->detach()) << "again";
}

// The extension may still be on its way to a node when the next holder has extended it: found by the
// simulator.
TEST(Adopt, R10_what_was_shortened_is_handed_on_without_its_fencing_token) {
    World world{3};
    auto locks = connected_to(world, Options{});
    auto lock = locks.try_lock("name", 60s);
    ASSERT_TRUE(lock);
    ASSERT_TRUE(lock->extend(60s));
    const auto former = lock->fencing_token();
    world.hang(1);
    ASSERT_TRUE(lock->extend(1s));
    const Handoff handoff = lock->detach();
    ASSERT_TRUE(handoff);
    EXPECT_TRUE(handoff.fencing_tokens.empty());
    const auto next = locks.adopt(Handoff::parse(handoff.str()), 60s);
    ASSERT_TRUE(next) << next.error().message();
    EXPECT_GT(next->fencing_token(), former);
}

TEST(Adopt, R10_what_was_shortened_is_not_handed_on_without_fencing) {
    World world{3};
    auto locks = connected_to(world);
    auto lock = locks.try_lock("name", 60s);
    ASSERT_TRUE(lock);
    ASSERT_TRUE(lock->extend(60s));
    ASSERT_TRUE(lock->extend(1s));
    EXPECT_FALSE(lock->detach());
    EXPECT_TRUE(lock->owns_lock());
    EXPECT_TRUE(lock->unlock());
}

TEST(Adopt, a_fencing_token_that_lua_cannot_count_is_refused) {
    World world{3};
    auto locks = connected_to(world, Options{});
    leave_on(world, 3);
    for (const std::uint64_t fence : {std::uint64_t{0}, (std::uint64_t{1} << 53U) + 1, ~std::uint64_t{0}}) {
        const Handoff handoff{{"name"}, passed_on, {fence}, 10s};
        EXPECT_EQ(locks.adopt(handoff, 10s).error(), errc::invalid_argument) << fence;
    }
    EXPECT_TRUE(world.handed("extend").empty());
}

TEST(Adopt, takes_a_handoff_in_the_place_of_its_token) {
    World world{3};
    auto locks = connected_to(world);
    auto lock = locks.try_lock("name", 10s);
    ASSERT_TRUE(lock);
    EXPECT_TRUE(locks.adopt("name", lock->detach(), 10s));
}

}  // namespace
}  // namespace redlock::test

// SPDX-License-Identifier: Apache-2.0
// Acquiring, rules R1 to R7, over nodes in memory.
#include <gtest/gtest.h>

#include <new>
#include <set>
#include <string>
#include <vector>

#include "redlock/voting/quorum.hpp"
#include "unit/scripted_world.hpp"

namespace redlock::test {
namespace {

std::vector<Vote> votes_of(const std::vector<NodeReport>& reports) {
    std::vector<Vote> votes;
    for (const NodeReport& report : reports) votes.push_back(report.vote);
    return votes;
}

Nanoseconds drift_of_10s() { return detail::drift_of(10s, Options{}); }

TEST(Acquire, R1_validity_counts_from_before_the_first_byte) {
    World world{5};
    auto locks = connected_to(world);
    world.cost_of_sending = 1ms;
    const auto before = world.clock.now();
    const auto lock = locks.try_lock("name", 10s);
    ASSERT_TRUE(lock);
    EXPECT_GE(world.clock.now() - before, 5ms);
    EXPECT_EQ(lock->expires_at(), before + 10s - drift_of_10s());
}

TEST(Acquire, R1_time_is_read_anew_for_every_attempt) {
    World world{5};
    auto locks = connected_to(world);
    for (std::size_t i = 0; i < 5; ++i) world.put(i, "name", "somebody else's", 300ms);
    const auto lock = locks.lock("name", {.ttl = 10s, .wait = 2s});
    ASSERT_TRUE(lock);
    const auto last = world.handed("acquire").back();
    EXPECT_GT(world.handed("acquire").size(), 5U);
    EXPECT_EQ(lock->expires_at(), last.at + 10s - drift_of_10s());
}

TEST(Acquire, R2_the_request_goes_to_all_nodes_before_anything_is_waited_for) {
    for (const std::size_t count : {1U, 3U, 5U, 7U}) {
        World world{count};
        auto locks = connected_to(world);
        const std::size_t polls_before = world.polls();
        const auto lock = locks.try_lock("name", 10s);
        ASSERT_TRUE(lock);
        const auto sets = world.handed("acquire");
        ASSERT_EQ(sets.size(), count);
        std::set<std::size_t> nodes;
        for (const Handed& set : sets) {
            nodes.insert(set.node);
            EXPECT_EQ(set.polls_before, polls_before);
            EXPECT_EQ(set.request, (Request{"SET", "name", lock->token().str(), "NX", "PX", "10000"}));
        }
        EXPECT_EQ(nodes.size(), count);
    }
}

TEST(Acquire, R2_a_connection_being_made_delays_no_other_node) {
    World world{5};
    world[0].connect_time = 40ms;
    auto locks = connect_to(world);
    const auto before = world.clock.now();
    const auto lock = locks.try_lock("name", 10s);
    ASSERT_TRUE(lock);
    EXPECT_LE(world.clock.now() - before, 1ms);
    EXPECT_EQ(world.handed("acquire").size(), 4U);
}

// DESIGN 10: "lock() throws, or hangs for ever, when one of five nodes is down or hung".
TEST(Acquire, R3_what_happens_to_a_minority_is_a_vote_and_ends_nothing) {
    World world{5};
    auto locks = connected_to(world);
    world.refuse(0);
    world.hang(1);
    const auto lock = locks.try_lock("name", 10s);
    ASSERT_TRUE(lock);
    world.clock.advance(100ms);
    const auto votes = votes_of(lock->nodes());
    EXPECT_EQ(votes,
              (std::vector{Vote::unreachable, Vote::pending, Vote::granted, Vote::granted, Vote::granted}));
}

// CASES 1; DESIGN 10: "validity computed but never checked; returned locks already expired".
TEST(Acquire, R4_a_pause_while_the_replies_are_in_flight_spoils_the_grant) {
    World world{3};
    auto locks = connected_to(world);
    world.before_telling = [&] { world.clock.advance(10s); };
    const auto lock = locks.try_lock("name", 10s);
    ASSERT_FALSE(lock);
    EXPECT_EQ(lock.error().code(), errc::too_slow) << lock.error().message();
    world.let_arrive();
    EXPECT_EQ(world.count_holding("name"), 0U);
}

TEST(Acquire, R4_the_last_moment_of_validity_still_counts) {
    Options options = plain_options();
    options.node_timeout = 1s;
    World world{3};
    auto locks = connected_to(world, options);
    for (std::size_t i = 0; i < 3; ++i) world[i].round_trip = 90ms;
    const auto good = locks.try_lock("name", 94ms);  // drift: 2.94 ms
    ASSERT_TRUE(good);
    EXPECT_GT(good->remaining(), 0ns);
    EXPECT_LT(good->remaining(), 2ms);
    const auto late = locks.try_lock("other", 92ms);
    EXPECT_FALSE(late);
}

TEST(Acquire, R5_decides_as_soon_as_a_quorum_has_granted) {
    World world{5};
    auto locks = connected_to(world);
    const Nanoseconds round_trips[] = {49ms, 1ms, 3ms, 2ms, 48ms};
    for (std::size_t i = 0; i < 5; ++i) world[i].round_trip = round_trips[i];
    const auto before = world.clock.now();
    ASSERT_TRUE(locks.try_lock("name", 10s));
    // the acquire, and the release at the end of the expression, each take as long as the third fastest node
    EXPECT_EQ(world.clock.now() - before, 6ms);
}

TEST(Acquire, R5_decides_as_soon_as_a_quorum_has_become_impossible) {
    World world{5};
    auto locks = connected_to(world);
    for (std::size_t i = 0; i < 3; ++i) world.put(i, "name", "another");
    world[3].round_trip = world[4].round_trip = 45ms;
    const auto before = world.clock.now();
    const auto lock = locks.try_lock("name", 10s);
    ASSERT_FALSE(lock);
    EXPECT_EQ(lock.error().code(), errc::contended);
    EXPECT_LE(world.clock.now() - before, 1ms);
}

TEST(Acquire, R5_an_attempt_has_one_deadline_not_one_per_node) {
    World world{5};
    auto locks = connected_to(world);
    for (std::size_t i = 0; i < 5; ++i) world.hang(i);
    const auto before = world.clock.now();
    const auto lock = locks.try_lock("name", 10s);
    ASSERT_FALSE(lock);
    EXPECT_EQ(lock.error().code(), errc::unreachable);
    EXPECT_EQ(world.clock.now() - before, Options{}.node_timeout);
    for (const NodeReport& node : lock.error().nodes()) EXPECT_EQ(node.vote, Vote::timeout);
}

TEST(Acquire, R5_the_deadline_holds_also_for_nodes_that_are_not_connected) {
    World world{3};
    for (std::size_t i = 0; i < 3; ++i) world.hang(i);
    auto locks = connect_to(world);
    const auto before = world.clock.now();
    EXPECT_FALSE(got(locks.try_lock("name", 10s)));
    EXPECT_LE(world.clock.now() - before, Options{}.connect_timeout + Options{}.node_timeout);
    for (int i = 0; i < 3; ++i) {
        world.clock.advance(world.backoff);
        const auto again = world.clock.now();
        EXPECT_FALSE(got(locks.try_lock("name", 10s)));
        EXPECT_LE(world.clock.now() - again, Options{}.node_timeout) << "they are known to be in trouble";
    }
}

// R22: the first call of a process, over a network where making a connection takes longer than a round may.
TEST(Acquire, R22_the_first_attempt_waits_for_connections_and_then_has_its_full_time) {
    World world{5};
    for (std::size_t i = 0; i < 5; ++i) {
        world[i].connect_time = 80ms + std::chrono::milliseconds{i};
        world[i].round_trip = 40ms;
    }
    auto locks = connect_to(world);
    const auto before = world.clock.now();
    const auto lock = locks.try_lock("name", 10s);
    ASSERT_TRUE(lock) << lock.error().message();
    EXPECT_EQ(world.clock.now() - before, 82ms + 40ms) << "a quorum is enough";
    EXPECT_GT(lock->remaining(), 10s - 40ms - detail::drift_of(10s, Options{}) - 1ms)
        << "R1: counted from the send";
}

TEST(Acquire, R22_it_waits_for_connections_no_longer_than_its_wait) {
    World world{3};
    for (std::size_t i = 0; i < 3; ++i) world[i].connect_time = 500ms;
    auto locks = connect_to(world);
    const auto before = world.clock.now();
    EXPECT_FALSE(got(locks.lock("name", {.ttl = 10s, .wait = 200ms})));
    EXPECT_LE(world.clock.now() - before, 200ms + Options{}.node_timeout);
}

TEST(Acquire, R22_a_stop_ends_the_wait_for_connections) {
    World world{3};
    for (std::size_t i = 0; i < 3; ++i) world[i].connect_time = 500ms;
    world[0].connect_time = 1ms;
    std::stop_source source;
    world.before_telling = [&] { source.request_stop(); };
    auto locks = connect_to(world);
    const auto before = world.clock.now();
    const auto lock = locks.lock("name", {.ttl = 10s, .stop = source.get_token()});
    ASSERT_FALSE(lock);
    EXPECT_EQ(lock.error().code(), errc::cancelled);
    EXPECT_EQ(world.clock.now() - before, 1ms);
    EXPECT_TRUE(world.handed().empty());
}

// A minority that does not answer is no reason to wait.
TEST(Acquire, R22_where_a_quorum_is_connected_nobody_waits_for_the_rest) {
    World world{5};
    world.hang(0);
    world.hang(1);
    auto locks = connect_to(world);
    const auto before = world.clock.now();
    ASSERT_TRUE(locks.try_lock("name", 10s));
    EXPECT_LE(world.clock.now() - before, 1ms);
}

TEST(Acquire, R22_where_no_quorum_can_be_hoped_for_nobody_waits) {
    World world{3};
    world.refuse(0);
    world.refuse(1);
    world[2].connect_time = 30ms;
    auto locks = connect_to(world);
    const auto before = world.clock.now();
    EXPECT_FALSE(got(locks.try_lock("name", 10s)));
    EXPECT_EQ(world.clock.now(), before);
}

// Fencing: a number proposed before the wait could be below one that was granted, and forgotten, meanwhile.
TEST(Acquire, R22_what_waited_for_connections_proposes_a_number_of_now) {
    World world{3};
    for (std::size_t i = 0; i < 3; ++i) world[i].connect_time = 500ms;
    auto locks = connect_to(world, Options{});
    const std::int64_t connected = world.clock.wall_us() + 500'000;
    const auto lock = locks.try_lock("name", 10s);
    ASSERT_TRUE(lock) << lock.error().message();
    EXPECT_GE(lock->fencing_token(), static_cast<std::uint64_t>(connected));
}

TEST(Acquire, R6_late_nodes_get_the_request_and_their_votes_count_for_the_lease) {
    World world{5};
    world[3].connect_time = 5ms;
    world[4].round_trip = 20ms;
    auto locks = connect_to(world);
    const auto lock = locks.try_lock("name", 10s);
    ASSERT_TRUE(lock);
    for (int i = 0; i < 10; ++i) {
        world.clock.advance(10ms);
        static_cast<void>(lock->nodes());
    }
    EXPECT_EQ(votes_of(lock->nodes()), std::vector<Vote>(5, Vote::granted));
    EXPECT_EQ(world.count_holding("name"), 5U);
}

// DESIGN 10: "rollback only on nodes that said OK (a timed-out SET lands later)"; CASES 7.
TEST(Acquire, R7_a_failure_is_undone_on_every_node_also_where_nothing_was_heard) {
    World world{5};
    auto locks = connected_to(world);
    world.hang(0);
    world.hang(1);
    world.put(2, "name", "another");
    const auto lock = locks.try_lock("name", 10s);
    ASSERT_FALSE(lock);
    EXPECT_EQ(world.handed("release").size(), 5U);
    world.resume(0);
    world.resume(1);
    world.let_arrive();
    EXPECT_EQ(world.count_holding("name"), 1U);
    EXPECT_EQ(world.get(2, "name"), "another");
}

// DESIGN 10: "a failed try leaves keys because release was called with the resource instead of the token".
TEST(Acquire, R7_what_undoes_an_attempt_carries_the_token_of_that_attempt) {
    World world{3};
    auto locks = connected_to(world);
    world.put(0, "name", "another");
    world.put(1, "name", "another");
    ASSERT_FALSE(got(locks.try_lock("name", 10s)));
    const auto token = world.handed("acquire").front().token();
    ASSERT_EQ(world.handed("release").size(), 3U);
    for (const Handed& release : world.handed("release")) {
        EXPECT_EQ(release.token(), token);
        EXPECT_EQ(release.request.at(3), "name");
    }
    world.let_arrive();
    EXPECT_EQ(world.count_holding("name"), 2U);
}

TEST(Acquire, R7_after_too_slow_and_after_a_stop_nothing_stays_either) {
    World world{3};
    auto locks = connected_to(world);
    std::stop_source source;
    world.before_telling = [&] { source.request_stop(); };
    world[1].round_trip = world[2].round_trip = 10ms;
    const auto lock = locks.lock("name", {.ttl = 10s, .stop = source.get_token()});
    ASSERT_FALSE(lock);
    EXPECT_EQ(lock.error().code(), errc::cancelled);
    world.let_arrive();
    EXPECT_EQ(world.count_holding("name"), 0U);
}

// A request that still waits for a connection when the attempt fails is never sent.
TEST(Acquire, R7_what_was_not_sent_when_the_attempt_failed_is_never_sent) {
    World world{3};
    world[2].connect_time = 60ms;
    world.put(0, "name", "another");
    world.put(1, "name", "another");
    auto locks = connect_to(world);
    ASSERT_FALSE(got(locks.try_lock("name", 10s)));
    world.clock.advance(100ms);
    ASSERT_TRUE(locks.try_lock("other", 10s));
    for (const Handed& one : world.handed_to(2, "acquire")) EXPECT_EQ(one.request.at(1), "other");
}

TEST(Acquire, several_resources_are_granted_all_or_none) {
    World world{3};
    auto locks = connected_to(world);
    world.put(0, "b", "another");
    world.put(1, "b", "another");
    const auto both = locks.try_lock({"a", "b"}, 10s);
    ASSERT_FALSE(both);
    EXPECT_EQ(both.error().code(), errc::contended);
    EXPECT_NE(both.error().message().find("'b' of 'a', 'b'"), std::string::npos) << both.error().message();
    world.let_arrive();
    EXPECT_EQ(world.count_holding("a"), 0U);
    const auto others = locks.try_lock({"c", "d"}, 10s);
    ASSERT_TRUE(others);
    world.let_arrive();
    EXPECT_EQ(world.count_holding("c"), 3U);
    EXPECT_EQ(world.count_holding("d"), 3U);
}

// If it were unwound half-way, the calls that wait in other threads would have no driver and wait for ever.
TEST(AcquireDeathTest, the_process_ends_where_memory_runs_out_in_the_middle_of_a_round) {
    const auto run_out = [] {
        World world{3};  // made here, since a forked child needs a Redlock of its own
        auto locks = connected_to(world);
        world.before_telling = [] { throw std::bad_alloc{}; };
        static_cast<void>(locks.try_lock("name", 10s));
    };
    EXPECT_DEATH(run_out(), "bad_alloc");
}

}  // namespace
}  // namespace redlock::test

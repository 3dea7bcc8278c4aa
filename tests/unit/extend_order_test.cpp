// SPDX-License-Identifier: Apache-2.0
// Extensions of one lease come one after another, rule R33, over nodes in memory and to the millisecond.
#include <gtest/gtest.h>

#include <cstddef>
#include <memory>
#include <string>
#include <vector>

#include "redlock/voting/quorum.hpp"
#include "unit/hand_driven.hpp"

namespace redlock::test {
namespace {

using Extending = HandDriven::StartedPtr<Result<void>>;

Nanoseconds lasting(std::chrono::milliseconds ttl) { return ttl - detail::drift_of(ttl, Options{}); }

Options timing_out_after(std::chrono::milliseconds node_timeout) {
    Options options = plain_options();
    options.node_timeout = node_timeout;
    return options;
}

// Nodes that are 10 ms away and know the scripts, and a lease on them.
struct Slow {
    explicit Slow(std::chrono::milliseconds node_timeout = 500ms, std::chrono::milliseconds ttl = 10s)
        : client{world, timing_out_after(node_timeout)} {
        lease = client.lock("name", {.ttl = ttl});
        const Extending first = client.start_extend(lease, ttl);
        client.pass(10ms);
        for (std::size_t i = 0; i < 3; ++i) world[i].round_trip = 10ms;
        world.forget_handed();
    }

    [[nodiscard]] std::size_t sent() const { return world.handed_to(0, "extend").size(); }
    [[nodiscard]] Nanoseconds remaining() const { return lease->remaining(world.clock.now()); }
    void hang_all() {
        for (std::size_t i = 0; i < 3; ++i) world.hang(i);
    }

    World world{3};
    HandDriven client;
    HandDriven::LeasePtr lease;
};

errc outcome_of(const Extending& extension) {
    const Result<void> result = extension->task.take();
    return result ? errc{} : result.error().code();
}

TEST(ExtendOrder, R33_the_next_is_sent_when_the_one_before_has_ended) {
    Slow nodes;
    const auto first = nodes.client.start_extend(nodes.lease, 20s);
    nodes.client.pass(2ms);
    const auto second = nodes.client.start_extend(nodes.lease, 30s);
    const auto third = nodes.client.start_extend(nodes.lease, 40s);
    nodes.client.pass(4ms);
    EXPECT_EQ(nodes.sent(), 1U);
    EXPECT_FALSE(first->is_done);
    nodes.client.pass(10ms);
    EXPECT_TRUE(first->is_done);
    EXPECT_FALSE(second->is_done);
    EXPECT_EQ(nodes.sent(), 2U);
    nodes.client.pass(30ms);
    ASSERT_TRUE(second->is_done && third->is_done);
    EXPECT_TRUE(first->task.take());
    EXPECT_TRUE(second->task.take());
    EXPECT_TRUE(third->task.take());
    EXPECT_EQ(nodes.sent(), 3U);
    EXPECT_GT(nodes.remaining(), lasting(40s) - 50ms);
}

TEST(ExtendOrder, R33_the_last_counts_where_it_is_shorter_and_where_it_is_longer) {
    for (const bool long_first : {true, false}) {
        Slow nodes;
        const auto first = nodes.client.start_extend(nodes.lease, long_first ? 60s : 1s);
        const auto second = nodes.client.start_extend(nodes.lease, long_first ? 1s : 60s);
        nodes.client.pass(30ms);
        ASSERT_TRUE(first->is_done && second->is_done);
        EXPECT_TRUE(first->task.take());
        EXPECT_TRUE(second->task.take());
        const auto expected = lasting(long_first ? 1s : 60s);
        EXPECT_GT(nodes.remaining(), expected - 40ms) << "success means that it lasts what was asked";
        EXPECT_LE(nodes.remaining(), expected);
    }
}

TEST(ExtendOrder, R1_who_has_waited_counts_from_its_own_send) {
    Slow nodes;
    const auto first = nodes.client.start_extend(nodes.lease, 20s);
    const auto second = nodes.client.start_extend(nodes.lease, 30s);
    nodes.client.pass(30ms);
    ASSERT_TRUE(second->is_done);
    const auto sent = nodes.world.handed_to(0, "extend");
    ASSERT_EQ(sent.size(), 2U);
    EXPECT_LE(nodes.lease->valid_until(), sent[1].at + lasting(30s));
    EXPECT_GT(nodes.lease->valid_until(), sent[1].at + lasting(30s) - 2ms);
}

// Once extend(60s) succeeded and left milliseconds.
TEST(ExtendOrder, R33_an_extension_beside_a_renewal_lasts_what_was_asked) {
    Slow nodes{500ms, 300ms};
    nodes.lease->renewal = {300ms, nodes.lease->acquired_at + 1h};
    nodes.client.keep(nodes.lease);
    for (int i = 0; i < 300 && nodes.sent() == 0; ++i) nodes.client.pass(1ms);
    const auto extension = nodes.client.start_extend(nodes.lease, 60s);
    nodes.client.pass(40ms);
    ASSERT_TRUE(extension->is_done);
    EXPECT_TRUE(extension->task.take());
    EXPECT_GT(nodes.remaining(), 59s);
    EXPECT_EQ(nodes.sent(), 2U) << "the renewal and the extension";
}

TEST(ExtendOrder, R33_a_renewal_behind_a_longer_extension_sends_nothing_and_shortens_nothing) {
    Slow nodes{500ms, 300ms};
    nodes.lease->renewal = {300ms, nodes.lease->acquired_at + 1h};
    nodes.client.keep(nodes.lease);
    for (std::size_t i = 0; i < 3; ++i) nodes.world[i].round_trip = 150ms;
    nodes.client.pass(nodes.remaining() - 250ms);
    ASSERT_EQ(nodes.sent(), 0U);
    const auto extension = nodes.client.start_extend(nodes.lease, 60s);
    nodes.client.pass(140ms);  // within which the renewal falls due
    EXPECT_FALSE(extension->is_done);
    nodes.client.pass(500ms);
    ASSERT_TRUE(extension->is_done);
    EXPECT_TRUE(extension->task.take());
    EXPECT_EQ(nodes.sent(), 1U);
    EXPECT_GT(nodes.remaining(), 58s);
}

TEST(ExtendOrder, R33_the_turn_is_handed_on_by_one_that_failed) {
    Slow nodes{100ms};
    const auto until = nodes.lease->valid_until();
    nodes.hang_all();
    const auto first = nodes.client.start_extend(nodes.lease, 20s);
    nodes.client.pass(50ms);
    const auto second = nodes.client.start_extend(nodes.lease, 30s);
    nodes.client.pass(52ms);
    ASSERT_TRUE(first->is_done);
    EXPECT_EQ(outcome_of(first), errc::unknown);
    EXPECT_EQ(nodes.lease->valid_until(), until);
    for (std::size_t i = 0; i < 3; ++i) nodes.world.resume(i);
    nodes.client.pass(20ms);
    ASSERT_TRUE(second->is_done);
    EXPECT_TRUE(second->task.take());
    EXPECT_GT(nodes.remaining(), lasting(30s) - 30ms);
}

TEST(ExtendOrder, R5_waiting_for_the_turn_counts_for_the_node_timeout) {
    Slow nodes{100ms};
    nodes.hang_all();
    const auto first = nodes.client.start_extend(nodes.lease, 20s);
    nodes.client.pass(60ms);
    const auto second = nodes.client.start_extend(nodes.lease, 30s);
    nodes.client.pass(95ms);
    EXPECT_EQ(nodes.sent(), 2U);
    EXPECT_FALSE(second->is_done);
    nodes.client.pass(7ms);
    ASSERT_TRUE(second->is_done);
    EXPECT_EQ(outcome_of(second), errc::unknown);
}

TEST(ExtendOrder, R33_whose_turn_does_not_come_in_time_sends_nothing_and_says_why) {
    Slow nodes{100ms};
    const auto until = nodes.lease->valid_until();
    nodes.hang_all();
    const auto first = nodes.client.start_extend(nodes.lease, 20s);
    const auto second = nodes.client.start_extend(nodes.lease, 1s);
    nodes.client.pass(103ms);
    ASSERT_TRUE(first->is_done && second->is_done);
    const Result<void> result = second->task.take();
    ASSERT_FALSE(result);
    EXPECT_EQ(result.error(), errc::unknown);
    EXPECT_NE(result.error().message().find("another extension"), std::string::npos)
        << result.error().message();
    EXPECT_EQ(nodes.sent(), 1U);
    EXPECT_EQ(nodes.lease->valid_until(), until) << "it was not sent, so it shortens nothing";
    for (std::size_t i = 0; i < 3; ++i) nodes.world.resume(i);
    nodes.client.pass(20ms);
    const auto third = nodes.client.start_extend(nodes.lease, 30s);
    nodes.client.pass(20ms);
    ASSERT_TRUE(third->is_done);
    EXPECT_TRUE(third->task.take()) << "the turn is free again";
}

TEST(ExtendOrder, R10_who_waits_waits_no_longer_than_the_validity) {
    Slow nodes{500ms};
    nodes.hang_all();
    const auto first = nodes.client.start_extend(nodes.lease, 200ms);  // lowers it
    const auto second = nodes.client.start_extend(nodes.lease, 20s);
    nodes.client.pass(lasting(200ms) + 2ms);
    ASSERT_TRUE(first->is_done && second->is_done);
    EXPECT_EQ(outcome_of(second), errc::lost);
    EXPECT_EQ(nodes.sent(), 1U);
}

TEST(ExtendOrder, R10_who_waits_longest_ends_when_one_before_it_has_lowered_the_validity) {
    Slow nodes{500ms};
    for (std::size_t i = 0; i < 3; ++i) nodes.world[i].round_trip = 40ms;
    const auto first = nodes.client.start_extend(nodes.lease, 20s);
    const auto second = nodes.client.start_extend(nodes.lease, 100ms);
    const auto third = nodes.client.start_extend(nodes.lease, 30s);
    nodes.client.pass(20ms);
    nodes.hang_all();
    for (std::size_t i = 0; i < 3; ++i) nodes.world[i].round_trip = 10ms;
    nodes.client.pass(50ms + 100ms);
    EXPECT_TRUE(first->is_done);
    EXPECT_TRUE(second->is_done);
    ASSERT_TRUE(third->is_done);
    EXPECT_EQ(outcome_of(third), errc::lost);
    EXPECT_LE(nodes.sent(), 2U);
}

TEST(ExtendOrder, R13_those_that_wait_when_unlock_begins_end_with_lost_and_send_nothing) {
    Slow nodes;
    const auto first = nodes.client.start_extend(nodes.lease, 20s);
    std::vector<Extending> waiting;
    for (int i = 0; i < 5; ++i) waiting.push_back(nodes.client.start_extend(nodes.lease, 30s));
    nodes.client.pass(2ms);
    const auto unlock = nodes.client.start_unlock(nodes.lease);
    nodes.client.pass(40ms);
    ASSERT_TRUE(first->is_done && unlock->is_done);
    EXPECT_TRUE(unlock->task.take());
    EXPECT_EQ(outcome_of(first), errc::lost) << "whatever the nodes said";
    for (const Extending& one : waiting) {
        ASSERT_TRUE(one->is_done);
        EXPECT_EQ(outcome_of(one), errc::lost);
    }
    EXPECT_EQ(nodes.sent(), 1U);
    EXPECT_EQ(nodes.world.count_holding("name"), 0U);
}

TEST(ExtendOrder, R11_those_that_wait_when_a_quorum_says_no_end_with_lost_and_send_nothing) {
    Slow nodes;
    nodes.world.put(0, "name", "another");
    nodes.world.put(1, "name", "another");
    const auto first = nodes.client.start_extend(nodes.lease, 20s);
    const auto second = nodes.client.start_extend(nodes.lease, 30s);
    const auto third = nodes.client.start_extend(nodes.lease, 30s);
    nodes.client.pass(30ms);
    ASSERT_TRUE(first->is_done && second->is_done && third->is_done);
    EXPECT_EQ(outcome_of(first), errc::lost);
    EXPECT_EQ(outcome_of(second), errc::lost);
    EXPECT_EQ(outcome_of(third), errc::lost);
    EXPECT_EQ(nodes.sent(), 1U);
}

// Any number of threads may extend one Lock. The nodes are a round trip away, and each call lasts at most a
// node_timeout.
TEST(ExtendOrder, R33_of_many_that_ask_for_the_same_all_get_it_within_two_rounds) {
    Slow nodes{50ms};
    std::vector<Extending> all;
    for (int i = 0; i < 10'000; ++i) all.push_back(nodes.client.start_extend(nodes.lease, 20s));
    nodes.world.clock.advance(1ms);
    for (int i = 0; i < 10; ++i) all.push_back(nodes.client.start_extend(nodes.lease, 20s));
    const auto last_asked = nodes.world.clock.now();
    nodes.client.pass(40ms);
    for (const Extending& one : all) {
        ASSERT_TRUE(one->is_done);
        ASSERT_TRUE(one->task.take());
    }
    EXPECT_LE(nodes.sent(), 2U);
    EXPECT_GE(nodes.lease->valid_until(), last_asked + lasting(20s));
}

// The confirmation must be newer than the call: the caller may want to know whether the lock is still ours.
TEST(ExtendOrder, R11_who_asks_while_one_is_under_way_is_not_served_by_its_answer) {
    Slow nodes;
    const auto first = nodes.client.start_extend(nodes.lease, 20s);
    nodes.client.pass(2ms);
    const auto second = nodes.client.start_extend(nodes.lease, 20s);
    nodes.client.pass(9ms);
    ASSERT_TRUE(first->is_done);
    nodes.world.erase(0, "name");
    nodes.world.erase(1, "name");
    nodes.client.pass(20ms);
    ASSERT_TRUE(second->is_done);
    EXPECT_EQ(outcome_of(second), errc::lost);
}

// ---- handing on meanwhile ---------------------------------------------------------------------------------

TEST(ExtendOrder, R10_what_an_extension_under_way_shortens_is_not_handed_on_without_fencing) {
    Slow nodes;
    const auto extension = nodes.client.start_extend(nodes.lease, 1s);
    const auto letting_go = nodes.client.start_detach(nodes.lease);
    nodes.client.pass(20ms);
    ASSERT_TRUE(extension->is_done && letting_go->is_done);
    EXPECT_FALSE(letting_go->task.take());
    EXPECT_TRUE(extension->task.take()) << "it goes on being held";
    EXPECT_GT(nodes.remaining(), 0ns);
}

TEST(ExtendOrder, R13_what_waits_when_the_lease_is_handed_on_ends_with_lost_and_sends_nothing) {
    Slow nodes;
    const auto until = nodes.lease->valid_until();
    const auto first = nodes.client.start_extend(nodes.lease, 20s);
    const auto second = nodes.client.start_extend(nodes.lease, 1s);
    nodes.client.pass(2ms);
    const auto letting_go = nodes.client.start_detach(nodes.lease);
    nodes.client.pass(30ms);
    ASSERT_TRUE(first->is_done && second->is_done && letting_go->is_done);
    EXPECT_TRUE(letting_go->task.take()) << "the shorter one was never sent";
    EXPECT_EQ(outcome_of(first), errc::lost);
    EXPECT_EQ(outcome_of(second), errc::lost);
    EXPECT_EQ(nodes.sent(), 1U);
    EXPECT_FALSE(nodes.lease->was_shortened());
    EXPECT_EQ(nodes.lease->valid_until(), until) << "what is handed on does not change any more";
    EXPECT_EQ(nodes.world.count_holding("name"), 3U);
}

}  // namespace
}  // namespace redlock::test

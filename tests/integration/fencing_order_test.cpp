// SPDX-License-Identifier: Apache-2.0
// Fencing tokens on real nodes: they grow, however far the counters have drifted apart.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "integration/fencing_parts.hpp"
#include "support/cluster.hpp"
#include "support/delay_proxy.hpp"
#include "support/eventually.hpp"
#include "support/got.hpp"

namespace redlock::test {
namespace {

using ::testing::Each;
using ::testing::ElementsAre;
using ::testing::IsEmpty;

constexpr std::int64_t hour_us = 3'600'000'000;
constexpr std::int64_t day_us = 24 * hour_us;

std::int64_t counter(RedisServer& node, const std::string& resource = "name") {
    const auto text = node.get(core::fence_key(resource));
    return text ? std::stoll(*text) : 0;
}

void set_counter(RedisServer& node, std::int64_t value, const std::string& resource = "name") {
    node.query({"SET", core::fence_key(resource), std::to_string(value)});
}

std::int64_t time_us(RedisServer& node) {
    const Reply time = node.query({"TIME"});
    return std::stoll(time.elements.at(0).text) * 1'000'000 + std::stoll(time.elements.at(1).text);
}

std::size_t count_at(Cluster& nodes, std::int64_t value) {
    std::size_t count = 0;
    for (auto& node : nodes) count += node.reachable() && counter(node) == value ? 1 : 0;
    return count;
}

std::int64_t token_of(const Result<WatchedRedlock::lock_type>& lock) {
    return lock ? static_cast<std::int64_t>(lock->fencing_token()) : 0;
}

// No node may keep a key of ours; releases that nobody waits for may still be in transit.
bool nothing_left(Cluster& nodes) {
    return eventually(patience, [&] { return nodes.keys_left().empty(); });
}

class FencingOrder : public ::testing::Test {
   protected:
    FencingOrder() { teach(nodes); }

    /// Sets counters ahead of the clients' clocks, so that the counters decide.
    void spread_counters() {
        base = LeaseClock::wall_us() + hour_us;
        set_counter(nodes[0], base + 5);
        set_counter(nodes[1], base + 10);
        set_counter(nodes[2], base + 1);
    }

    Cluster nodes{3};
    std::int64_t base = 0;
};

// --- one round trip --------------------------------------------------------------------------------------

TEST_F(FencingOrder, tokens_grow_from_one_client_to_the_next_in_one_round_trip) {
    Watched first{nodes.uris()};
    Watched second{nodes.uris()};
    Watched fast{nodes.uris(), fencing_options(), 5min};
    std::int64_t last = 0;
    for (int i = 0; i < 100; ++i) {
        for (Watched* client : {&first, &fast, &second}) {
            const auto lock = client->locks.lock("name", {.ttl = 10s, .wait = 5s});
            ASSERT_TRUE(lock) << lock.error().message();
            EXPECT_GT(token_of(lock), last);
            last = token_of(lock);
        }
    }
    // When a node grants a failed attempt, the counters differ once, which costs a second round trip.
    EXPECT_LE(first.sent->commits + second.sent->commits + fast.sent->commits, 30U) << "a tenth at the most";
}

TEST_F(FencingOrder, the_wall_clock_is_the_token_where_no_counter_is_ahead) {
    Watched client{nodes.uris()};
    const std::int64_t before = LeaseClock::wall_us();
    const auto lock = client.locks.try_lock("name", 10s);
    ASSERT_TRUE(lock);
    EXPECT_GE(token_of(lock), before);
    EXPECT_LE(token_of(lock), LeaseClock::wall_us());
    EXPECT_TRUE(eventually(patience, [&] { return count_at(nodes, token_of(lock)) == 3; }));
    EXPECT_EQ(nodes[0].get(core::fence_key("name")), std::to_string(token_of(lock))) << "every digit";
}

TEST_F(FencingOrder, each_of_several_resources_has_its_own_token) {
    Watched client{nodes.uris()};
    const std::int64_t ahead = LeaseClock::wall_us() + hour_us;
    for (auto& node : nodes) set_counter(node, ahead, "b");
    std::int64_t last_a = 0;
    std::int64_t last_b = ahead;
    for (int i = 0; i < 10; ++i) {
        const auto lock = client.locks.lock({"a", "b"}, {.ttl = 10s, .wait = 5s});
        ASSERT_TRUE(lock) << lock.error().message();
        const auto token_a = static_cast<std::int64_t>(lock->fencing_token("a"));
        const auto token_b = static_cast<std::int64_t>(lock->fencing_token("b"));
        EXPECT_GT(token_a, last_a);
        EXPECT_GT(token_b, last_b);
        EXPECT_EQ(lock->fencing_token(), lock->fencing_token("a"));
        EXPECT_EQ(lock->fencing_token("c"), 0U);
        last_a = token_a;
        last_b = token_b;
    }
    const auto alone = client.locks.lock("a", {.ttl = 10s, .wait = 5s});
    ASSERT_TRUE(alone);
    EXPECT_GT(token_of(alone), last_a) << "the counter of a resource is one, alone or in company";
}

// --- two round trips -------------------------------------------------------------------------------------

// DESIGN 10: "fencing by max of per-node INCR: 11, then 2".
TEST_F(FencingOrder, where_the_nodes_differ_the_largest_is_written_back_to_a_quorum) {
    spread_counters();
    Watched client{nodes.uris()};
    const auto lock = client.locks.try_lock("name", 10s);
    ASSERT_TRUE(lock) << lock.error().message();
    EXPECT_GE(count_at(nodes, token_of(lock)), 2U) << "before try_lock() returned";
    EXPECT_GT(token_of(lock), base + 5) << "a quorum has a node with 5 or one with 10";
    EXPECT_GT(client.sent->commits, 0U);
}

TEST_F(FencingOrder, the_second_round_goes_only_to_those_that_gave_less) {
    spread_counters();
    nodes[2].kill();
    Watched client{nodes.uris()};
    const auto lock = client.locks.try_lock("name", 10s);
    ASSERT_TRUE(lock) << lock.error().message();
    EXPECT_EQ(token_of(lock), base + 11);
    EXPECT_EQ(counter(nodes[0]), base + 11);
    EXPECT_EQ(counter(nodes[1]), base + 11);
    EXPECT_EQ(client.sent->commits, 1U);
}

TEST_F(FencingOrder, whichever_quorum_comes_next_has_the_larger_token_and_one_round_trip_will_do) {
    for (std::size_t absent = 0; absent < 3; ++absent) {
        spread_counters();
        Watched client{nodes.uris()};
        std::int64_t first = 0;
        {
            const auto lock = client.locks.try_lock("name", 10s);
            ASSERT_TRUE(lock) << lock.error().message();
            first = token_of(lock);
        }
        ASSERT_TRUE(nothing_left(nodes));
        nodes[absent].kill();
        Watched slow{nodes.uris(), fencing_options(), -10min};
        const auto next = slow.locks.try_lock("name", 10s);
        ASSERT_TRUE(next) << next.error().message();
        EXPECT_GT(token_of(next), first) << "without node " << absent;
        nodes.restart_all(Data::discard);
    }
}

TEST_F(FencingOrder, validity_counts_both_round_trips) {
    spread_counters();
    constexpr auto each_way = 20ms;
    DelayProxy far{nodes.uris(), each_way};
    Watched client{far.uris()};
    ASSERT_TRUE(client.locks.try_lock("connects", 10s));
    const auto lock = client.locks.try_lock("name", 10s);
    ASSERT_TRUE(lock) << lock.error().message();
    ASSERT_GT(client.sent->commits, 0U);
    EXPECT_LE(lock->remaining(), 10s - 102ms - 4 * each_way);
}

TEST_F(FencingOrder, both_round_trips_are_within_one_deadline) {
    spread_counters();
    DelayProxy far{nodes.uris(), 40ms};
    Options options = fencing_options();
    options.node_timeout = 120ms;
    Watched client{far.uris(), options};
    ASSERT_TRUE(client.locks.lock("connects", {.ttl = 10s, .wait = 5s}));
    const auto lock = client.locks.try_lock("name", 10s);
    ASSERT_FALSE(lock) << "two round trips take 160 ms";
    EXPECT_TRUE(nothing_left(nodes));
}

// --- what happens between the two rounds -------------------------------------------------------------------

class BetweenTheRounds : public FencingOrder {
   protected:
    void SetUp() override {
        spread_counters();
        nodes[2].kill();  // so the quorum needs both others
    }
    Result<WatchedRedlock::lock_type> attempt(std::function<void()> between) {
        client.sent->before_commit = std::move(between);
        auto lock = client.locks.try_lock("name", 10s);
        EXPECT_GT(client.sent->commits, 0U);
        return lock;
    }

    Watched client{nodes.uris()};
};

TEST_F(BetweenTheRounds, nothing_happens_and_it_is_granted) {
    EXPECT_TRUE(attempt([] {}));
}

TEST_F(BetweenTheRounds, the_key_vanishes_and_the_commit_is_refused) {
    EXPECT_FALSE(got(attempt([&] { nodes[0].query({"DEL", "name"}); })));
    EXPECT_TRUE(nothing_left(nodes));
    EXPECT_EQ(counter(nodes[0]), base + 6) << "only the owner raises it";
}

TEST_F(BetweenTheRounds, another_takes_the_key_and_keeps_it) {
    EXPECT_FALSE(got(attempt([&] { nodes[0].query({"SET", "name", "another", "PX", "60000"}); })));
    EXPECT_TRUE(eventually(patience, [&] { return !nodes[1].get("name"); }));
    EXPECT_EQ(nodes[0].get("name"), "another");
    EXPECT_EQ(counter(nodes[0]), base + 6);
}

// As when an earlier commit of this client arrives a second time, after another client has held the resource.
TEST_F(BetweenTheRounds, the_counter_passes_the_value_and_is_not_lowered) {
    EXPECT_FALSE(got(attempt([&] { set_counter(nodes[0], base + 12); })));
    EXPECT_EQ(counter(nodes[0]), base + 12);
    EXPECT_TRUE(nothing_left(nodes));
}

TEST_F(BetweenTheRounds, a_counter_that_vanished_is_written_anew) {
    const auto lock = attempt([&] { nodes[0].query({"DEL", core::fence_key("name")}); });
    ASSERT_TRUE(lock) << lock.error().message();
    EXPECT_EQ(counter(nodes[0]), base + 11);
}

// The same for adoption. Other clients may adopt with the same token, and reach node 2.
class AdoptedBetweenTheRounds : public BetweenTheRounds {
   protected:
    Result<WatchedRedlock::lock_type> adopt(std::function<void()> between) {
        const Token token = Token::parse("handed-on-twice");
        for (std::size_t i = 0; i < 2; ++i) nodes[i].query({"SET", "name", token.str(), "PX", "60000"});
        client.sent->before_commit = std::move(between);
        auto lock = client.locks.adopt("name", token, 10s);
        EXPECT_EQ(client.sent->commits, 2U) << "one for each of the nodes";
        return lock;
    }
};

TEST_F(AdoptedBetweenTheRounds, a_value_that_another_was_given_is_not_taken) {
    const auto lock = adopt([&] { set_counter(nodes[0], base + 11); });
    ASSERT_TRUE(lock) << lock.error().message();
    EXPECT_EQ(token_of(lock), base + 12) << "above both that it was given, 6 and 11";
}

TEST_F(AdoptedBetweenTheRounds, a_value_that_another_has_committed_is_not_taken) {
    EXPECT_FALSE(got(adopt([&] { set_counter(nodes[0], base + 12); })));
    EXPECT_EQ(counter(nodes[0]), base + 12);
}

// --- extend ----------------------------------------------------------------------------------------------

TEST_F(FencingOrder, an_extension_does_not_count_a_node_whose_counter_is_past_our_token) {
    Watched client{nodes.uris()};
    auto lock = client.locks.try_lock("name", 10s);
    ASSERT_TRUE(lock);
    ASSERT_TRUE(eventually(patience, [&] { return count_at(nodes, token_of(lock)) == 3; }));
    set_counter(nodes[0], token_of(lock) + 1);
    EXPECT_TRUE(lock->extend(10s)) << "two are left";
    set_counter(nodes[1], token_of(lock) + 1);
    const auto refused = lock->extend(10s);
    ASSERT_FALSE(refused);
    EXPECT_EQ(refused.error().code(), errc::lost);
    EXPECT_EQ(counter(nodes[0]), token_of(lock) + 1) << "and does not lower it";
}

TEST_F(FencingOrder, an_extension_keeps_the_token_and_renews_the_counters) {
    Options options = fencing_options();
    options.fence_ttl = 1h;
    Watched client{nodes.uris(), options};
    auto lock = client.locks.try_lock("name", 10s);
    ASSERT_TRUE(lock);
    const std::int64_t token = token_of(lock);
    ASSERT_TRUE(eventually(patience, [&] { return count_at(nodes, token) == 3; }));
    for (auto& node : nodes) node.query({"PEXPIRE", core::fence_key("name"), "60000"});
    ASSERT_TRUE(lock->extend(10s));
    EXPECT_EQ(token_of(lock), token);
    EXPECT_TRUE(eventually(patience, [&] {
        std::size_t renewed = 0;
        for (auto& node : nodes) {
            renewed += node.pttl(core::fence_key("name")).value_or(0ms) > 59min ? 1 : 0;
        }
        return renewed == 3;
    }));
}

// --- the cap on proposals ----------------------------------------------------------------------------------

TEST_F(FencingOrder, a_wild_clock_cannot_spend_the_range) {
    Watched wild{nodes.uris(), fencing_options(), 24h * 36'500};
    const std::int64_t before = time_us(nodes[0]);
    std::int64_t spent = 0;
    {
        const auto lock = wild.locks.try_lock("name", 10s);
        ASSERT_TRUE(lock) << lock.error().message();
        spent = token_of(lock);
    }
    EXPECT_GE(spent, before + day_us);
    EXPECT_LE(spent, time_us(nodes[0]) + day_us);
    ASSERT_TRUE(nothing_left(nodes));
    Watched sane{nodes.uris()};
    const auto next = sane.locks.try_lock("name", 10s);
    ASSERT_TRUE(next) << next.error().message();
    EXPECT_GT(token_of(next), spent);
    EXPECT_LE(token_of(next), time_us(nodes[0]) + day_us);
}

TEST_F(FencingOrder, a_counter_just_below_the_cap_is_passed_and_one_above_it_goes_on_by_one) {
    Watched wild{nodes.uris(), fencing_options(), 24h * 365};
    const std::int64_t below = time_us(nodes[0]) + day_us - 2'000'000;
    for (auto& node : nodes) set_counter(node, below);
    {
        const auto lock = wild.locks.try_lock("name", 10s);
        ASSERT_TRUE(lock) << lock.error().message();
        EXPECT_GE(token_of(lock), below + 2'000'000) << "the cap is ahead of the counter";
        EXPECT_LE(token_of(lock), time_us(nodes[0]) + day_us);
    }
    ASSERT_TRUE(nothing_left(nodes));
    const std::int64_t above = time_us(nodes[0]) + day_us + hour_us;
    for (auto& node : nodes) set_counter(node, above);
    Watched again{nodes.uris(), fencing_options(), 24h * 365};
    const auto lock = again.locks.try_lock("name", 10s);
    ASSERT_TRUE(lock) << lock.error().message();
    EXPECT_EQ(token_of(lock), above + 1);
}

TEST_F(FencingOrder, a_clock_before_1970_is_as_good_as_any) {
    Watched client{nodes.uris(), fencing_options(), -24h * 36'500};
    std::int64_t last = 0;
    for (int i = 0; i < 5; ++i) {
        const auto lock = client.locks.lock("name", {.ttl = 10s, .wait = 5s});
        ASSERT_TRUE(lock) << lock.error().message();
        EXPECT_GT(token_of(lock), last);
        last = token_of(lock);
    }
    EXPECT_LT(last, 100) << "the counters alone";
}

// --- forgetting ------------------------------------------------------------------------------------------

TEST_F(FencingOrder, counters_wiped_on_any_one_node_cost_at_most_a_round_trip) {
    std::int64_t last = LeaseClock::wall_us() + hour_us;  // ahead of all clocks, so the counters decide
    for (std::size_t i = 0; i < 12; ++i) {
        for (auto& node : nodes) set_counter(node, last);
        nodes[i % 3].query({"DEL", core::fence_key("name")});
        Watched client{nodes.uris()};
        const auto lock = client.locks.lock("name", {.ttl = 10s, .wait = 5s});
        ASSERT_TRUE(lock) << lock.error().message();
        EXPECT_GT(token_of(lock), last);
        EXPECT_LE(client.sent->commits, 2U);
        last = token_of(lock);
    }
}

// The documented limit, and how a quarantine avoids it. A client whose clock is an hour ahead got its token
// from nodes 0 and 1; then node 0 forgets it, and node 1 is down.
TEST_F(FencingOrder, a_node_that_forgot_a_fast_clients_token_must_not_vote) {
    nodes[2].kill();
    std::int64_t first = 0;
    {
        Watched fast{nodes.uris(), fencing_options(), 1h};
        first = token_of(fast.locks.try_lock("name", 10s));
    }
    ASSERT_GT(first, 0);
    nodes[0].restart(Data::discard);
    nodes[1].kill();
    nodes[2].restart();
    Options options = fencing_options();
    options.restart_quarantine = 2h;
    Watched careful{nodes.uris(), options};
    const auto refused = careful.locks.try_lock("name", 10s);
    ASSERT_FALSE(refused);
    EXPECT_EQ(refused.error().code(), errc::unreachable);

    Watched careless{nodes.uris()};
    const auto lock = careless.locks.try_lock("name", 10s);
    ASSERT_TRUE(lock) << lock.error().message();
    EXPECT_LT(token_of(lock), first) << "which is why docs/fencing.md asks for it";
}

TEST_F(FencingOrder, the_counters_end_fence_ttl_after_their_last_use) {
    Options options = fencing_options();
    options.fence_ttl = 1h;
    Watched client{nodes.uris(), options};
    {
        const auto lock = client.locks.try_lock("name", 10s);
        ASSERT_TRUE(lock) << lock.error().message();
        ASSERT_TRUE(eventually(patience, [&] { return nodes.count_holding("name") == 3; }));
    }
    ASSERT_TRUE(nothing_left(nodes)) << "but the counters";
    for (auto& node : nodes) {
        const auto left = node.pttl(core::fence_key("name"));
        ASSERT_TRUE(left);
        EXPECT_GT(*left, 59min);
        EXPECT_LE(*left, 1h);
    }
    spread_counters();
    for (auto& node : nodes) node.query({"PEXPIRE", core::fence_key("name"), "7200000"});
    ASSERT_TRUE(client.locks.try_lock("name", 10s));
    for (auto& node : nodes) {
        const bool is_used = eventually(
            patience, [&] { return node.pttl(core::fence_key("name")) <= std::chrono::milliseconds{1h}; });
        EXPECT_TRUE(is_used);
    }
}

// --- keys ------------------------------------------------------------------------------------------------

TEST(FencingKeys, a_counter_is_on_the_hash_slot_of_its_resource) {
    ServerOptions options;
    options.arguments = {"--cluster-enabled", "yes"};
    RedisServer node{options};
    for (const char* name : {"name", "orders/42", "{tag}rest", "a{tag}", "a{b}{c}", "a{{b}}", "open{"}) {
        const std::string key = core::fence_key(name);
        EXPECT_NE(key, name);
        EXPECT_EQ(node.query({"CLUSTER", "KEYSLOT", key}).number(),
                  node.query({"CLUSTER", "KEYSLOT", name}).number())
            << key;
    }
}

TEST_F(FencingOrder, two_resources_never_share_a_counter) {
    Watched client{nodes.uris()};
    auto lock = client.locks.try_lock("name", 10s);
    ASSERT_TRUE(lock);
    const auto other = client.locks.try_lock("{name}", 10s);
    ASSERT_TRUE(other);
    const auto extended = lock->extend(10s);
    EXPECT_TRUE(extended) << extended.error().message();
}

// --- fresh nodes -----------------------------------------------------------------------------------------

// No node knows any script, and the caller returns as soon as a quorum has answered.
TEST(FencingFresh, the_first_lock_on_fresh_nodes_leaves_nothing) {
    Cluster nodes{3};
    Watched client{nodes.uris()};
    {
        const auto lock = client.locks.try_lock("name", 60s);
        ASSERT_TRUE(lock) << lock.error().message();
        EXPECT_TRUE(eventually(3s, [&] { return nodes.count_holding("name") == 3; }));
    }
    EXPECT_TRUE(nothing_left(nodes)) << ::testing::PrintToString(nodes.keys_left());
}

// --- off -------------------------------------------------------------------------------------------------

TEST_F(FencingOrder, off_nothing_of_it_is_sent_or_stored) {
    Options options = fencing_options();
    options.fencing = false;
    Watched client{nodes.uris(), options};
    {
        auto lock = client.locks.try_lock("name", 10s);
        ASSERT_TRUE(lock);
        EXPECT_EQ(lock->fencing_token(), 0U);
        ASSERT_TRUE(eventually(patience, [&] { return nodes.count_holding("name") == 3; }));
        EXPECT_TRUE(lock->extend(10s));
        for (auto& node : nodes) EXPECT_THAT(node.keys(), ElementsAre("name"));
        EXPECT_EQ(nodes.command_stat("set"), 3U);
        EXPECT_EQ(nodes.command_stat("exists"), 0U);
        EXPECT_EQ(nodes.command_stat("time"), 0U);
    }
    EXPECT_EQ(client.sent->acquires + client.sent->commits, 0U);
    EXPECT_TRUE(eventually(patience, [&] {
        std::size_t keys = 0;
        for (auto& node : nodes) keys += node.keys().size();
        return keys == 0;
    })) << "not even a counter";
}

}  // namespace
}  // namespace redlock::test

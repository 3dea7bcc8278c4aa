// SPDX-License-Identifier: Apache-2.0
// Renewal on real nodes: the failures that a lease survives, and those that end it. Rules R12, R14.
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "integration/holding_nodes.hpp"

namespace redlock::test {
namespace {

LockOptions renewing(std::chrono::milliseconds limit = forever) {
    return {.ttl = short_ttl, .renew = true, .renew_limit = limit};
}

// Whether the lock is held for `count` ttls, while another client tries all the time.
testing::AssertionResult holds_for_ttls(int count, Lock& lock, Contender& contender) {
    const auto lost = lock.lost();
    const auto ends_early = [&] { return lost.stop_requested() || contender.is_in(); };
    if (!never_within(short_ttl * count, ends_early)) {
        return testing::AssertionFailure()
               << (contender.is_in() ? "another client got in" : "it was lost") << " after "
               << contender.attempts() << " attempts of another; remaining "
               << std::chrono::duration<double, std::milli>(lock.remaining()).count() << " ms";
    }
    if (!lock.owns_lock()) return testing::AssertionFailure() << "it is not owned any more";
    return testing::AssertionSuccess();
}

Contender another(Nodes& nodes, Lock& lock) {
    return {nodes.cluster.uris(), std::string{lock.resource()}, [&lock] { return lock.owns_lock(); }};
}

TEST(HoldingRenewal, A_holder_outlives_ten_ttls) {
    Nodes nodes{5};
    auto lock = nodes.hold_everywhere(renewing());
    const auto token = lock.token();
    Contender contender = another(nodes, lock);
    EXPECT_TRUE(holds_for_ttls(10, lock, contender));
    for (const auto& value : nodes.cluster.values("name")) EXPECT_EQ(value, token.str());
    EXPECT_GT(contender.attempts(), 10U);
    EXPECT_TRUE(lock.unlock());
    EXPECT_TRUE(eventually(patience, [&] { return contender.is_in(); }));
    EXPECT_GT(contender.fencing_token(), lock.fencing_token());
}

TEST(HoldingRenewal, A_minority_killed_in_the_middle_changes_nothing) {
    Nodes nodes{5};
    auto lock = nodes.hold_everywhere(renewing());
    Contender contender = another(nodes, lock);
    nodes.cluster.kill_first(2);
    EXPECT_TRUE(holds_for_ttls(3, lock, contender));
    contender.give_up();
    EXPECT_TRUE(lock.unlock());
}

TEST(HoldingRenewal, A_minority_that_hangs_in_the_middle_changes_nothing) {
    Nodes nodes{5};
    auto lock = nodes.hold_everywhere(renewing());
    Contender contender = another(nodes, lock);
    nodes.cluster.pause_first(2);
    EXPECT_TRUE(holds_for_ttls(3, lock, contender));
    nodes.cluster.resume_all();
    EXPECT_TRUE(holds_for_ttls(1, lock, contender));
}

void restart_empty(Cluster& cluster, std::initializer_list<std::size_t> which) {
    for (const std::size_t i : which) cluster[i].begin_restart(Data::discard);
    for (const std::size_t i : which) cluster[i].wait_until_ready();
}

TEST(HoldingRenewal, R12_a_minority_that_restarts_empty_gets_its_key_back) {
    Nodes nodes{5};
    auto lock = nodes.hold_everywhere(renewing());
    restart_empty(nodes.cluster, {0, 1});
    for (const std::size_t i : {0U, 1U}) {
        auto& node = nodes.cluster[i];
        EXPECT_TRUE(eventually(patience, [&] { return node.get("name") == lock.token().str(); }));
        EXPECT_EQ(node.get("{name}:redlock-fence"), std::to_string(lock.fencing_token()));
    }
    Contender contender = another(nodes, lock);
    // Keys that were put back count from then on, so two other nodes may fail.
    for (const std::size_t i : {2U, 3U}) nodes.cluster[i].kill();
    EXPECT_TRUE(holds_for_ttls(3, lock, contender));
}

TEST(HoldingRenewal, R12_a_minority_that_restarts_empty_lets_no_contender_in) {
    Nodes nodes{5};
    auto lock = nodes.hold_everywhere(renewing());
    Contender contender = another(nodes, lock);
    restart_empty(nodes.cluster, {0, 1});
    EXPECT_TRUE(holds_for_ttls(3, lock, contender));
    contender.give_up();
    EXPECT_TRUE(lock.unlock());
}

TEST(HoldingRenewal, R12_what_a_quorum_has_lost_is_not_acquired_anew) {
    Nodes nodes{5};
    auto lock = nodes.hold_everywhere(renewing());
    const auto lost = lock.lost();
    for (const std::size_t i : {0U, 1U, 2U}) nodes.cluster[i].query({"DEL", "name"});
    EXPECT_TRUE(eventually(patience, [&] { return lost.stop_requested(); }));
    EXPECT_FALSE(lock.owns_lock());
    EXPECT_EQ(lock.extend(short_ttl).error(), errc::lost);
    EXPECT_TRUE(never_within(short_ttl, [&] { return nodes.cluster.count_holding("name") > 2; }));
    EXPECT_EQ(lock.unlock().error(), errc::lost);
    EXPECT_TRUE(eventually(patience, [&] { return nodes.cluster.keys_left().empty(); }));
}

TEST(HoldingRenewal, R12_nothing_is_put_back_over_another_holder) {
    Nodes nodes{3};
    auto lock = nodes.hold_everywhere(renewing());
    nodes.cluster[0].query({"SET", "name", "of another", "PX", "60000"});
    const auto lost = lock.lost();
    EXPECT_TRUE(never_within(2 * short_ttl, [&] {
        return lost.stop_requested() || nodes.cluster[0].get("name") != "of another";
    }));
    EXPECT_TRUE(lock.unlock());
    EXPECT_EQ(nodes.cluster[0].get("name"), "of another");
}

TEST(HoldingRenewal, A_majority_killed_ends_the_right_before_another_gets_in) {
    ServerOptions durable;
    durable.append_only = true;
    Nodes nodes{5, durable};
    auto lock = nodes.hold_everywhere(renewing());
    const auto lost = lock.lost();
    Contender contender = another(nodes, lock);
    ASSERT_TRUE(holds_for_ttls(1, lock, contender));
    nodes.cluster.kill_first(3);
    const auto ends = lock.expires_at();
    EXPECT_TRUE(eventually(patience, [&] { return lost.stop_requested(); }));
    EXPECT_FALSE(lock.owns_lock());
    EXPECT_GE((LeaseClock::now() - ends).count(), 0);
    EXPECT_FALSE(contender.is_in());
    nodes.cluster.heal();
    EXPECT_TRUE(eventually(patience, [&] { return contender.is_in(); }));
    EXPECT_FALSE(contender.was_second_holder());
    EXPECT_EQ(lock.unlock().error(), errc::lost);
}

TEST(HoldingRenewal, A_majority_that_hangs_ends_the_right_before_another_gets_in) {
    Nodes nodes{5};
    auto lock = nodes.hold_everywhere(renewing());
    const auto lost = lock.lost();
    Contender contender = another(nodes, lock);
    ASSERT_TRUE(holds_for_ttls(1, lock, contender));
    nodes.cluster.pause_first(3);
    EXPECT_TRUE(eventually(patience, [&] { return lost.stop_requested(); }));
    EXPECT_FALSE(contender.is_in());
    nodes.cluster.resume_all();
    EXPECT_TRUE(eventually(patience, [&] { return contender.is_in(); }));
    EXPECT_FALSE(contender.was_second_holder());
}

// The majority comes back before the validity ends, and a retry before that saves the lease.
TEST(HoldingRenewal, A_majority_that_hangs_shortly_is_survived) {
    Nodes nodes{5};
    auto lock = nodes.hold_everywhere({.ttl = 2s, .renew = true, .renew_limit = forever});
    const auto lost = lock.lost();
    nodes.cluster.pause_first(3);
    EXPECT_TRUE(eventually(patience, [&] { return lock.remaining() < 1s; }));
    nodes.cluster.resume_all();
    EXPECT_TRUE(eventually(patience, [&] { return lock.remaining() > 1s || lost.stop_requested(); }));
    EXPECT_FALSE(lost.stop_requested());
    EXPECT_TRUE(lock.unlock());
}

TEST(HoldingRenewal, R14_a_stuck_holder_is_let_go_at_the_limit) {
    Nodes nodes{5};
    constexpr auto limit = 900ms;
    const auto began = LeaseClock::now();
    auto lock = nodes.hold_everywhere(renewing(limit));
    const auto acquired = LeaseClock::now();
    const auto lost = lock.lost();
    Contender contender = another(nodes, lock);
    EXPECT_TRUE(eventually(patience, [&] { return lost.stop_requested(); }));
    EXPECT_LE(lock.expires_at() - acquired, limit);
    EXPECT_GT(lock.expires_at() - began, limit - short_ttl);
    EXPECT_TRUE(eventually(patience, [&] { return contender.is_in(); }));
    EXPECT_FALSE(contender.was_second_holder());
    EXPECT_GE(LeaseClock::now() - acquired, limit - short_ttl);
    EXPECT_EQ(lock.extend(short_ttl).error(), errc::lost);
}

TEST(HoldingRenewal, A_lock_without_renew_is_not_renewed_though_somebody_watches_it) {
    Nodes nodes{3};
    auto lock = nodes.locks.try_lock("name", short_ttl).value();
    const auto ends = lock.expires_at();
    const auto lost = lock.lost();
    EXPECT_TRUE(eventually(patience, [&] { return lost.stop_requested(); }));
    EXPECT_EQ(lock.expires_at(), ends);
    EXPECT_TRUE(eventually(patience, [&] { return got(nodes.locks.try_lock("name", 1s)); }));
}

}  // namespace
}  // namespace redlock::test

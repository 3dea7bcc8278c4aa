// SPDX-License-Identifier: Apache-2.0
// Acquire, contention, expiry, extend and release on real servers, for several numbers of nodes.
#include "integration/fixture.hpp"
#include "redlock/voting/claim.hpp"

namespace redlock::test {
namespace {

class Basics : public ::testing::TestWithParam<std::size_t> {
   protected:
    Cluster cluster{GetParam()};
};

TEST_P(Basics, acquire_extend_and_release) {
    auto locks = connect_to(cluster);
    auto lock = locks.try_lock("orders/42", 60s);
    ASSERT_TRUE(lock) << lock.error().message();
    EXPECT_EQ(lock->resource(), "orders/42");
    EXPECT_EQ(lock->token().str().size(), 40U);
    EXPECT_GT(lock->remaining(), 50s);
    EXPECT_TRUE(eventually(patience, [&] { return cluster.count_holding("orders/42") == GetParam(); }));
    for (const auto& value : cluster.values("orders/42")) EXPECT_EQ(value, lock->token().str());

    ASSERT_TRUE(lock->extend(120s));
    EXPECT_GT(lock->remaining(), 100s);
    EXPECT_TRUE(eventually(patience, [&] {
        for (RedisServer& node : cluster) {
            if (node.pttl("orders/42").value_or(0ms) < 100s) return false;
        }
        return true;
    }));

    ASSERT_TRUE(lock->unlock());
    EXPECT_FALSE(lock->owns_lock());
    EXPECT_TRUE(is_clean(cluster));
}

TEST_P(Basics, a_lock_that_is_held_is_denied_to_others_until_it_is_released) {
    auto ours = connect_to(cluster);
    auto theirs = connect_to(cluster);
    auto lock = ours.try_lock("name", 60s);
    ASSERT_TRUE(lock) << lock.error().message();
    const auto denied = theirs.try_lock("name", 60s);
    ASSERT_FALSE(denied);
    EXPECT_EQ(denied.error().code(), errc::contended) << denied.error().message();
    EXPECT_GT(denied.error().holder_remaining().value_or(0ms), 30s);
    EXPECT_EQ(denied.error().nodes().size(), GetParam());
    EXPECT_FALSE(got(ours.try_lock("name", 60s))) << "it is not re-entrant";
    ASSERT_TRUE(lock->unlock());
    EXPECT_TRUE(theirs.lock("name", {.ttl = 60s, .wait = 20s}));
    EXPECT_TRUE(is_clean(cluster));
}

TEST_P(Basics, a_lock_that_nobody_extends_expires_and_another_gets_it) {
    Options options = patient();
    options.drift_floor = 0ms;
    auto ours = connect_to(cluster, options);
    auto theirs = connect_to(cluster, options);
    auto lock = ours.try_lock("name", 300ms);
    ASSERT_TRUE(lock) << lock.error().message();
    const auto next = theirs.lock("name", {.ttl = 60s, .wait = 30s});
    ASSERT_TRUE(next) << next.error().message();
    EXPECT_FALSE(lock->owns_lock()) << "the validity ends before the key does";
    EXPECT_EQ(lock->extend(60s).error().code(), errc::lost);
    EXPECT_EQ(lock->unlock().error().code(), errc::lost);
    EXPECT_TRUE(next->owns_lock());
    EXPECT_GE(cluster.count_holding("name"), GetParam() / 2 + 1) << "what the next one holds was not touched";
}

INSTANTIATE_TEST_SUITE_P(Nodes, Basics, ::testing::Values(1, 3, 5, 7),
                         [](const auto& nodes) { return "N" + std::to_string(nodes.param); });

TEST(Scripts, R23_are_known_again_after_script_flush) {
    Cluster cluster{3};
    auto locks = connect_to(cluster);
    auto lock = locks.try_lock("name", 60s);
    ASSERT_TRUE(lock);
    for (RedisServer& node : cluster) node.query({"SCRIPT", "FLUSH"});
    EXPECT_TRUE(lock->extend(60s));
    for (RedisServer& node : cluster) node.query({"SCRIPT", "FLUSH"});
    EXPECT_TRUE(lock->unlock());
    for (RedisServer& node : cluster) node.query({"SCRIPT", "FLUSH"});
    EXPECT_TRUE(locks.try_lock("name", 60s));
    EXPECT_TRUE(is_clean(cluster));
}

TEST(Fencing, tokens_strictly_increase_across_hand_overs_and_clients) {
    Cluster cluster{5};
    std::vector<Redlock> clients;
    for (int i = 0; i < 3; ++i) clients.push_back(connect_to(cluster));
    std::uint64_t last = 0;
    for (std::size_t i = 0; i < 60; ++i) {
        auto lock = clients[i % clients.size()].lock("name", {.ttl = 60s, .wait = 30s});
        ASSERT_TRUE(lock) << lock.error().message();
        EXPECT_GT(lock->fencing_token(), last);
        last = lock->fencing_token();
        if (i == 30) {  // one node's counter runs ahead of all clocks
            const auto ahead = std::to_string(last + 1'000'000'000);
            cluster[2].query({"SET", redlock::detail::fence_key("name"), ahead});
        }
        ASSERT_TRUE(lock->unlock());
    }
}

}  // namespace
}  // namespace redlock::test

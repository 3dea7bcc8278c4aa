// SPDX-License-Identifier: Apache-2.0
// Nodes that a round does not need for its quorum get its requests too. Rules R6, R12, R23.
#include <gtest/gtest.h>

#include <memory>
#include <string>

#include "integration/holding_nodes.hpp"
#include "support/delay_proxy.hpp"

namespace redlock::test {
namespace {

// A node that does not know a script answers NOSCRIPT. It gets the text without a further call of the user.
TEST(HoldingScripts, R6_the_first_lock_reaches_every_node) {
    Cluster cluster{3};
    constexpr int rounds = 20;
    for (int i = 0; i < rounds; ++i) {
        const auto name = "name/" + std::to_string(i);
        for (auto& node : cluster) node.query({"SCRIPT", "FLUSH"});
        Redlock locks{cluster.uris(), holding_options()};
        const auto lock = locks.try_lock(name, 60s);
        ASSERT_TRUE(lock);
        ASSERT_TRUE(eventually(3s, [&] { return cluster.count_holding(name) == cluster.size(); }))
            << "on " << cluster.count_holding(name) << " nodes only, in round " << i;
    }
}

TEST(HoldingScripts, R7_the_first_release_of_a_failed_attempt_reaches_every_node) {
    Cluster cluster{3};
    for (const std::size_t i : {0U, 1U}) cluster[i].query({"SET", "name", "of another", "PX", "60000"});
    Redlock locks{cluster.uris(), holding_options()};
    EXPECT_EQ(locks.try_lock("name", 60s).error(), errc::contended);
    EXPECT_TRUE(eventually(patience, [&] { return cluster.count_holding("name") == 2; }));
}

// Two nodes are farther away than the others: each renewal is decided before they have answered.
struct FarMinority {
    FarMinority() : cluster{5}, proxy{cluster.uris(), 10ms} {
        auto uris = cluster.uris();
        for (const std::size_t i : far) uris[i] = proxy.uris()[i];
        locks = std::make_unique<Redlock>(uris, holding_options());
    }
    static constexpr std::size_t far[] = {3, 4};
    Cluster cluster;
    DelayProxy proxy;
    std::unique_ptr<Redlock> locks;
};

TEST(HoldingScripts, R23_a_slower_node_is_renewed_too) {
    FarMinority nodes;
    const auto lock = nodes.locks->lock("name", {.ttl = short_ttl, .renew = true});
    ASSERT_TRUE(lock);
    ASSERT_TRUE(eventually(patience, [&] { return nodes.cluster.count_holding("name") == 5; }));
    EXPECT_TRUE(never_within(3 * short_ttl, [&] { return nodes.cluster.count_holding("name") != 5; }));
}

TEST(HoldingScripts, R12_a_slower_node_gets_its_key_back) {
    FarMinority nodes;
    const auto lock = nodes.locks->lock("name", {.ttl = short_ttl, .renew = true});
    ASSERT_TRUE(lock);
    ASSERT_TRUE(eventually(patience, [&] { return nodes.cluster.count_holding("name") == 5; }));
    auto& node = nodes.cluster[FarMinority::far[0]];
    for (int i = 0; i < 3; ++i) {
        node.query({"DEL", "name"});
        ASSERT_TRUE(eventually(patience, [&] { return node.get("name") == lock->token().str(); }));
    }
}

}  // namespace
}  // namespace redlock::test

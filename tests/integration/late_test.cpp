// SPDX-License-Identifier: Apache-2.0
// Late votes, requests that a hung node runs after the attempt has ended, and replaced connections.
#include <map>
#include <optional>

#include "integration/fixture.hpp"
#include "support/delay_proxy.hpp"
#include "support/fake_node.hpp"

namespace redlock::test {
namespace {

// The statistics distinguish subcommands only from Redis 7 on.
bool has_ended_a_connection(RedisServer& node) {
    return node.major_version() < 7 || node.command_stat("client|kill") >= 1;
}

TEST(Late, R6_the_first_lock_of_a_fresh_redlock_soon_has_the_votes_of_all_nodes) {
    Cluster cluster{5};
    auto locks = connect_to(cluster);
    const auto lock = locks.try_lock("name", 60s);
    ASSERT_TRUE(lock) << lock.error().message();
    EXPECT_TRUE(eventually(patience, [&] { return cluster.count_holding("name") == 5; }))
        << "with nobody asking for it";
    EXPECT_TRUE(
        eventually(patience, [&] { return votes_of(lock->nodes()) == std::vector<Vote>(5, Vote::granted); }));
}

// CASES 7; DESIGN 10: "rollback only on nodes that said OK (a timed-out SET lands later)".
TEST(Late, R7_a_set_that_lands_after_we_gave_up_is_undone) {
    Cluster cluster{3};
    for (const bool fencing : {true, false}) {
        Options options = brisk();
        options.fencing = fencing;
        auto locks = connect_to(cluster, options);
        warm_up(locks);
        cluster.pause_first(2);
        const auto lock = locks.try_lock("name", 60s);
        ASSERT_FALSE(lock);
        EXPECT_EQ(lock.error().code(), errc::unreachable) << lock.error().message();
        cluster.resume_all();
        // A node that answers has read the earlier requests.
        for (std::size_t i = 0; i < 2; ++i) cluster[i].query({"PING"});
        EXPECT_TRUE(is_clean(cluster));
    }
}

// The node has the key, and the connection that carried its release is gone.
TEST(Late, R20_a_release_that_was_lost_with_its_connection_comes_with_the_next_one) {
    Cluster cluster{3};
    DelayProxy proxy{{cluster[0].uri()}, 0ms};
    Redlock locks{{proxy.uris()[0], cluster[1].uri(), cluster[2].uri()}, patient()};
    warm_up(locks);
    auto lock = locks.try_lock("name", 60s);
    ASSERT_TRUE(lock) << lock.error().message();
    ASSERT_TRUE(eventually(patience, [&] { return cluster.count_holding("name") == 3; }));
    proxy.hang(0, Direction::to_node);
    ASSERT_TRUE(lock->unlock());
    EXPECT_EQ(cluster.count_holding("name"), 1U);
    proxy.cut(0);
    proxy.resume(0);
    EXPECT_TRUE(eventually(patience, [&] {
        static_cast<void>(locks.try_lock("other", 60s));  // a call, so that a thread drives
        return cluster.count_holding("name") == 0;
    }));
    EXPECT_TRUE(has_ended_a_connection(cluster[0]));
}

// The node hangs, with our SET unread in its socket, while the connection is replaced.
TEST(Late, R20_a_set_on_a_replaced_connection_leaves_no_key) {
    Cluster cluster{3};
    DelayProxy proxy{{cluster[0].uri()}, 0ms};
    Redlock locks{{proxy.uris()[0], cluster[1].uri(), cluster[2].uri()}, patient()};
    warm_up(locks);
    cluster[0].pause();
    {
        const auto lock = locks.try_lock("name", 60s);
        ASSERT_TRUE(lock) << lock.error().message();
        proxy.hang(0, Direction::to_node);  // the release does not arrive
    }
    proxy.cut(0);
    proxy.resume(0);
    cluster[0].resume();
    EXPECT_TRUE(eventually(patience, [&] {
        static_cast<void>(locks.try_lock("other", 60s));
        return has_ended_a_connection(cluster[0]) && cluster.count_holding("name") == 0;
    }));
    EXPECT_TRUE(is_clean(cluster));
}

// The requests of a new connection before its first command, in order.
TEST(Late, R20_the_first_thing_a_new_connection_does_is_to_end_the_old_one) {
    Cluster good{2};
    std::atomic<int> connections{0};
    const FakeNode node = scripted_node([&](const Request& request) -> Answer {
        if (request[0] == "CLIENT" && request[1] == "ID") {
            return ":" + std::to_string(100 + ++connections) + "\r\n";
        }
        if (request[0] == "SET") return {"+OK\r\n", true};  // and disconnects, so the release does not arrive
        return agreeable_answer(request);
    });
    Options options = patient();
    options.fencing = false;
    Redlock locks{{good[0].uri(), good[1].uri(), node.uri()}, options};
    EXPECT_TRUE(eventually(patience, [&] {
        EXPECT_TRUE(locks.try_lock("name", 60s));
        return node.count("SET") >= 2;
    }));
    std::vector<std::string> said;
    for (const auto& request : node.requests()) {
        const bool is_client = request[0] == "CLIENT";
        if (is_client && request[1] == "ID") said.emplace_back("(new)");
        if (is_client && request[1] == "KILL") said.push_back("KILL " + request.back());
        if (request[0] == "SET" || request[0] == "EVALSHA") said.push_back(request[0]);
    }
    // The first connection has no predecessor; each later one first ends the one before.
    int number = 100;
    for (std::size_t i = 0; i + 1 < said.size(); ++i) {
        if (said[i] != "(new)" || ++number == 101) continue;
        EXPECT_EQ(said[i + 1], "KILL " + std::to_string(number - 1)) << ::testing::PrintToString(said);
    }
    EXPECT_GE(number, 102);
    EXPECT_GE(node.count("EVALSHA"), 1U) << "the release that was owed";
}

}  // namespace
}  // namespace redlock::test

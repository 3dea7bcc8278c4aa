// SPDX-License-Identifier: Apache-2.0
// inspect() reports what the nodes know about a resource, and changes nothing.
#include "redlock/inspect.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "integration/holding_nodes.hpp"

namespace redlock::test {
namespace {

using testing::HasSubstr;
using testing::Not;
using State = Inspection::State;

class InspectTest : public testing::Test {
   protected:
    Inspection inspect() { return nodes.locks.inspect("name").value(); }
    Cluster& cluster() { return nodes.cluster; }
    // Sets the key as another client of the algorithm would.
    void set(std::size_t node, const std::string& token) {
        cluster()[node].query({"SET", "name", token, "NX", "PX", "60000"});
    }

    Nodes nodes{5};
};

TEST_F(InspectTest, What_nobody_holds_is_available) {
    const auto seen = inspect();
    EXPECT_EQ(seen.state, State::available);
    EXPECT_TRUE(seen.holder.empty());
    ASSERT_EQ(seen.nodes.size(), 5U);
    for (std::size_t i = 0; i < 5; ++i) {
        EXPECT_EQ(seen.nodes[i].report.endpoint, cluster()[i].uri());
        EXPECT_EQ(seen.nodes[i].report.vote, Vote::granted);
        EXPECT_TRUE(seen.nodes[i].holder.empty());
        EXPECT_EQ(seen.nodes[i].fence, 0U);
    }
}

TEST_F(InspectTest, A_held_resource_shows_a_digest_of_the_token_and_what_is_left) {
    auto lock = nodes.hold_everywhere({.ttl = 60s});
    const auto seen = inspect();
    EXPECT_EQ(seen.state, State::held);
    EXPECT_EQ(seen.holder.size(), 8U);
    EXPECT_THAT(lock.token().str(), Not(HasSubstr(seen.holder)));
    EXPECT_GT(seen.remaining, 50s);
    EXPECT_LE(seen.remaining, 60s);
    for (const auto& node : seen.nodes) {
        EXPECT_EQ(node.holder, seen.holder);
        EXPECT_GT(node.ttl, 50s);
        EXPECT_EQ(node.fence, lock.fencing_token());
    }
    EXPECT_TRUE(lock.unlock());
    EXPECT_TRUE(eventually(patience, [&] { return inspect().state == State::available; }));
    EXPECT_EQ(inspect().nodes[0].fence, lock.fencing_token());
}

TEST_F(InspectTest, Two_holders_have_two_digests) {
    const auto first = nodes.hold_everywhere({.ttl = 60s}).token();
    EXPECT_TRUE(eventually(patience, [&] { return inspect().state == State::available; }));
    for (std::size_t i = 0; i < 5; ++i) set(i, first.str());
    const auto digest = inspect().holder;
    EXPECT_EQ(inspect().holder, digest);
    for (auto& node : cluster()) node.query({"SET", "name", "another", "PX", "60000"});
    EXPECT_NE(inspect().holder, digest);
}

TEST_F(InspectTest, Asking_changes_nothing_and_takes_no_lock) {
    set(0, "their-token");
    const auto before = cluster()[0].pttl("name").value();
    static_cast<void>(inspect());
    EXPECT_LE(cluster()[0].pttl("name").value(), before);
    EXPECT_EQ(cluster().keys_left().size(), 1U);
    for (auto& node : cluster()) EXPECT_FALSE(node.get("{name}:redlock-fence"));
    EXPECT_TRUE(nodes.locks.try_lock("name", 10s));
}

TEST_F(InspectTest, Split_votes_are_undecided) {
    for (const std::size_t i : {0U, 1U}) set(i, "one");
    for (const std::size_t i : {2U, 3U}) set(i, "two");
    const auto seen = inspect();
    EXPECT_EQ(seen.state, State::undecided);
    EXPECT_TRUE(seen.holder.empty());
    EXPECT_EQ(seen.nodes[0].holder, seen.nodes[1].holder);
    EXPECT_EQ(seen.nodes[2].holder, seen.nodes[3].holder);
    EXPECT_NE(seen.nodes[0].holder, seen.nodes[2].holder);
    EXPECT_TRUE(seen.nodes[4].holder.empty());
}

TEST_F(InspectTest, What_is_left_is_what_a_quorum_will_still_have) {
    for (std::size_t i = 0; i < 5; ++i) {
        const auto ttl_ms = std::to_string(20'000 * (i + 1));
        cluster()[i].query({"SET", "name", "their-token", "PX", ttl_ms});
    }
    const auto left = inspect().remaining;  // of 20, 40, 60, 80, 100 s
    EXPECT_LE(left, 60s);
    EXPECT_GT(left, 45s);
}

TEST_F(InspectTest, A_minority_that_is_down_or_hung_is_said_so_and_the_rest_decides) {
    auto lock = nodes.hold_everywhere({.ttl = 60s});
    cluster()[0].kill();
    cluster()[1].pause();
    const auto seen = inspect();
    EXPECT_EQ(seen.state, State::held);
    EXPECT_EQ(seen.nodes[0].report.vote, Vote::unreachable);
    EXPECT_EQ(seen.nodes[1].report.vote, Vote::timeout);
    EXPECT_TRUE(seen.nodes[0].holder.empty());
    EXPECT_EQ(seen.nodes[2].holder, seen.holder);
    cluster().resume_all();
}

TEST_F(InspectTest, A_majority_that_is_down_leaves_it_undecided) {
    cluster().kill_first(3);
    EXPECT_EQ(inspect().state, State::undecided);
}

TEST_F(InspectTest, A_key_of_another_type_is_refused_with_the_nodes_own_error) {
    cluster()[0].query({"HSET", "name", "field", "value"});
    for (std::size_t i = 1; i < 5; ++i) set(i, "their-token");
    const auto seen = inspect();
    EXPECT_EQ(seen.state, State::held);
    EXPECT_EQ(seen.nodes[0].report.vote, Vote::refused);
    EXPECT_THAT(seen.nodes[0].report.detail, HasSubstr("WRONGTYPE"));
}

TEST_F(InspectTest, A_foreign_clients_lock_is_seen_and_so_is_one_that_never_ends) {
    for (auto& node : cluster()) node.query({"SET", "name", "their-token"});
    const auto seen = inspect();
    EXPECT_EQ(seen.state, State::held);
    EXPECT_EQ(seen.holder.size(), 8U);
    EXPECT_EQ(seen.remaining, forever);
    for (const auto& node : seen.nodes) EXPECT_LT(node.ttl, 0ms);
    EXPECT_EQ(nodes.locks.try_lock("name", 10s).error(), errc::contended);
}

TEST_F(InspectTest, R25_what_would_not_be_granted_is_not_available) {
    Options options = holding_options();
    options.restart_quarantine = 1h;
    Redlock locks{cluster().uris(), options};
    const auto seen = locks.inspect("name").value();
    EXPECT_EQ(seen.state, State::undecided) << "all of them have just started";
    for (const auto& node : seen.nodes) EXPECT_EQ(node.report.vote, Vote::quarantined);
    EXPECT_EQ(locks.try_lock("name", 60s).error(), errc::unreachable);

    for (auto& node : cluster()) node.query({"SET", "{name}:redlock-fence", "not ours", "PX", "60000"});
    EXPECT_EQ(inspect().state, State::undecided);
    for (const auto& node : inspect().nodes) EXPECT_EQ(node.report.vote, Vote::refused);
    EXPECT_EQ(nodes.locks.try_lock("name", 60s).error(), errc::unreachable);
}

TEST_F(InspectTest, A_name_that_can_never_be_locked_is_an_error) {
    EXPECT_EQ(nodes.locks.inspect("").error(), errc::invalid_argument);
}

}  // namespace
}  // namespace redlock::test

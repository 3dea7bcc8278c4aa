// SPDX-License-Identifier: Apache-2.0
// What a lease keeps in memory while it lasts: the votes, and nothing else of its requests.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstddef>

#include "unit/hand_driven.hpp"
#include "unit/scripted_world.hpp"

namespace redlock::test {
namespace {

Options fenced_options() {
    Options options = plain_options();
    options.fencing = true;
    return options;
}

TEST(LeaseVotes, the_request_is_let_go_when_every_node_has_answered) {
    World world{5};
    HandDriven client{world, fenced_options()};
    world[3].round_trip = world[4].round_trip = 5ms;
    const auto lease = client.lock("name", {.ttl = 10s});
    ASSERT_TRUE(lease);
    client.pass(20ms);
    EXPECT_EQ(lease->votes.use_count(), 1);
    for (const auto& ballot : lease->votes->ballots) {
        EXPECT_EQ(ballot.vote, Vote::granted) << "those that came late too";
        EXPECT_TRUE(ballot.values.empty()) << "the fencing tokens are settled";
    }
}

TEST(LeaseVotes, so_is_that_of_an_extension) {
    World world{5};
    HandDriven client{world, fenced_options()};
    const auto lease = client.lock("name", {.ttl = 10s});
    ASSERT_TRUE(lease);
    const auto extension = client.start_extend(lease, 20s);
    client.pass(20ms);
    ASSERT_TRUE(extension->is_done && extension->task.take());
    const auto votes = lease->exchange_last_extension(nullptr);
    ASSERT_TRUE(votes);
    EXPECT_EQ(votes.use_count(), 1);
    EXPECT_TRUE(std::all_of(votes->ballots.begin(), votes->ballots.end(),
                            [](const auto& ballot) { return ballot.values.empty(); }));
}

}  // namespace
}  // namespace redlock::test

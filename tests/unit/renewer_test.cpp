// SPDX-License-Identifier: Apache-2.0
// Renewal and lost(), rules R13 to R15, over nodes in memory and to the millisecond.
#include <gtest/gtest.h>

#include "unit/hand_driven.hpp"

namespace redlock::test {
namespace {

// Holds a lease of 300 ms that is renewed for one second in all.
HandDriven::LeasePtr renewed_lease(HandDriven& client) {
    const auto lease = client.lock("name", {.ttl = 300ms});
    if (lease) lease->renewal = {300ms, lease->acquired_at + 1s};
    if (lease) client.keep(lease);
    return lease;
}

TEST(Renewer, R14_a_lease_is_renewed_up_to_its_limit_and_no_further) {
    World world{3};
    HandDriven client{world};
    const auto lease = renewed_lease(client);
    ASSERT_TRUE(lease);
    const auto lost = lease->lost_token();
    client.pass(900ms);
    EXPECT_GT(lease->remaining(world.clock.now()), 0ns) << "renewed twice and more";
    EXPECT_FALSE(lost.stop_requested());
    EXPECT_LE(lease->valid_until() - lease->acquired_at, 1s);
    client.pass(100ms);
    EXPECT_TRUE(lost.stop_requested());
    world.forget_handed();
    client.pass(2s);
    EXPECT_TRUE(world.handed("extend").empty());
}

// DESIGN 10: "one node down during auto-extend: lock treated as lost".
TEST(Renewer, R14_a_lease_is_renewed_though_a_minority_is_down) {
    World world{3};
    HandDriven client{world};
    const auto lease = renewed_lease(client);
    ASSERT_TRUE(lease);
    world.refuse(2);
    client.pass(900ms);
    EXPECT_GT(lease->remaining(world.clock.now()), 0ns);
}

// DESIGN 10: "renewal racing unlock makes an immortal lock".
TEST(Renewer, R13_nothing_is_renewed_after_the_unlock) {
    World world{3};
    HandDriven client{world};
    const auto lease = renewed_lease(client);
    ASSERT_TRUE(lease);
    const auto unlock = client.start_unlock(lease);
    client.pass(10ms);
    ASSERT_TRUE(unlock->is_done);
    EXPECT_TRUE(unlock->task.take());
    world.forget_handed();
    client.pass(500ms);
    EXPECT_TRUE(world.handed("extend").empty());
    EXPECT_EQ(world.count_holding("name"), 0U);
}

TEST(Renewer, R15_lost_is_told_when_the_validity_ends_and_not_before) {
    World world{3};
    HandDriven client{world};
    const auto lease = client.lock("name", {.ttl = 300ms});
    ASSERT_TRUE(lease);
    const auto lost = lease->lost_token();
    client.keep(lease);
    for (std::size_t i = 0; i < 3; ++i) world.hang(i);
    client.pass(lease->remaining(world.clock.now()) - 2ms);
    EXPECT_FALSE(lost.stop_requested());
    client.pass(3ms);
    EXPECT_TRUE(lost.stop_requested());
}

TEST(Renewer, R15_lost_is_told_when_a_validity_ends_that_was_lowered) {
    World world{3};
    HandDriven client{world};
    const auto lease = client.lock("name", {.ttl = 10s});
    ASSERT_TRUE(lease);
    const auto lost = lease->lost_token();
    client.keep(lease);
    client.pass(10ms);
    for (std::size_t i = 0; i < 3; ++i) world.hang(i);
    const auto extension = client.start_extend(lease, 300ms);
    client.pass(310ms);
    EXPECT_TRUE(extension->is_done);
    EXPECT_TRUE(lost.stop_requested());
}

// Extended by its holder, beyond what a renewal would give.
TEST(Renewer, R14_renewal_goes_on_after_a_longer_extension) {
    World world{3};
    HandDriven client{world};
    const auto lease = client.lock("name", {.ttl = 300ms});
    ASSERT_TRUE(lease);
    lease->renewal = {300ms, lease->acquired_at + 1h};
    client.keep(lease);
    const auto extension = client.start_extend(lease, 1s);
    client.pass(2500ms);
    ASSERT_TRUE(extension->is_done);
    EXPECT_TRUE(extension->task.take());
    EXPECT_GT(lease->remaining(world.clock.now()), 0ns);
    const std::size_t sent = world.handed_to(0, "extend").size();
    EXPECT_GT(sent, 10U);
    EXPECT_LT(sent, 30U) << "not while there is nothing to gain";
}

}  // namespace
}  // namespace redlock::test

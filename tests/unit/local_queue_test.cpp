// SPDX-License-Identifier: Apache-2.0
// Waiters for one resource in one process (section 8 of the design), over nodes in memory.
#include <gtest/gtest.h>

#include "unit/hand_driven.hpp"

namespace redlock::test {
namespace {

// Delays that are long compared with everything else here.
Options patient_options() {
    Options options = plain_options();
    options.retry = {.base = 10s, .cap = 10s, .multiplier = 1.0};
    return options;
}

void occupy_all(World& world, std::chrono::milliseconds ttl) {
    for (std::size_t i = 0; i < world.size(); ++i) world.put(i, "name", "another", ttl);
}

TEST(LocalQueue, of_all_who_wait_in_one_process_one_contends) {
    World world{3};
    world.jitter = 255;
    HandDriven client{world, patient_options()};
    occupy_all(world, 1h);
    const auto first = client.start_lock("name", {.wait = 1min});
    const auto second = client.start_lock("name", {.wait = 1min});
    const auto third = client.start_lock("name", {.wait = 1min});
    client.pass(1s);
    EXPECT_EQ(world.handed_to(0, "acquire").size(), 1U);
    client.pass(1min);
    EXPECT_TRUE(first->is_done && second->is_done && third->is_done) << "each within its own wait";
}

TEST(LocalQueue, a_release_is_followed_at_once_by_the_attempt_of_who_waits_here) {
    World world{3};
    HandDriven client{world, patient_options()};
    const auto held = client.lock("name", {.ttl = 1h});
    ASSERT_TRUE(held);
    world.jitter = 255;
    const auto waiter = client.start_lock("name", {.wait = 1min});
    client.pass(100ms);
    ASSERT_FALSE(waiter->is_done);
    const auto unlock = client.start_unlock(held);
    client.pass(5ms);
    ASSERT_TRUE(waiter->is_done);
    EXPECT_TRUE(waiter->task.take());
}

TEST(LocalQueue, who_got_it_leaves_the_queue_to_the_next_which_gets_it_after_the_release) {
    World world{3};
    HandDriven client{world, patient_options()};
    const auto first = client.start_lock("name", {.ttl = 1h, .wait = 1min});
    const auto second = client.start_lock("name", {.ttl = 1h, .wait = 1min});
    client.pass(100ms);
    ASSERT_TRUE(first->is_done);
    ASSERT_FALSE(second->is_done);
    EXPECT_EQ(world.handed_to(0, "acquire").size(), 1U) << "this process holds it itself";
    const auto unlock = client.start_unlock(first->task.take().value());
    client.pass(5ms);
    ASSERT_TRUE(second->is_done);
    EXPECT_TRUE(second->task.take());
}

TEST(LocalQueue, when_the_first_gives_up_the_next_contends) {
    World world{3};
    world.jitter = 255;
    HandDriven client{world, patient_options()};
    occupy_all(world, 1s);
    const auto first = client.start_lock("name", {.wait = 200ms});
    const auto second = client.start_lock("name", {.wait = 1min});
    client.pass(300ms);
    ASSERT_TRUE(first->is_done);
    EXPECT_FALSE(first->task.take());
    client.pass(15s);
    ASSERT_TRUE(second->is_done);
    EXPECT_TRUE(second->task.take());
}

}  // namespace
}  // namespace redlock::test

// SPDX-License-Identifier: Apache-2.0
// A driver from which another thread has taken over meanwhile, over nodes in memory.
#include <gtest/gtest.h>

#include <cstddef>
#include <thread>

#include "unit/hand_driven.hpp"
#include "unit/scripted_world.hpp"

namespace redlock::test {
namespace {

// Two threads that read would share one buffer, so the first one leaves further replies unread.
TEST(TakenOver, who_comes_back_from_its_wait_late_reads_nothing) {
    World world{3};
    HandDriven client{world};
    for (std::size_t i = 0; i < 3; ++i) world[i].round_trip = 10ms;
    const auto call = client.start_lock("name", {.ttl = 10s});
    client.pass(7ms);  // it has arrived there
    bool has_driven = false;
    world.before_telling = [&] {
        std::thread{[&] { client.pass(0ms); }}.join();
        has_driven = true;
    };
    world.clock.advance(10ms);
    client.pass(0ms);
    EXPECT_TRUE(has_driven);
    EXPECT_FALSE(call->is_done);
    client.pass(100ms);
    ASSERT_TRUE(call->is_done);
    const auto result = call->task.take();
    ASSERT_FALSE(result);
    EXPECT_EQ(result.error().code(), errc::unreachable);
}

}  // namespace
}  // namespace redlock::test

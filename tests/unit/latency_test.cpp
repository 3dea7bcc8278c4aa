// SPDX-License-Identifier: Apache-2.0
// NodeReport::latency: how long an answer took, and 0 where no answer came.
#include <gtest/gtest.h>

#include <cstddef>
#include <optional>
#include <string>
#include <vector>

#include "redlock/redlock.hpp"
#include "unit/scripted_world.hpp"

namespace redlock::test {
namespace {

TEST(Latency, who_answered_has_one_and_nobody_else) {
    World world{5};
    auto locks = connected_to(world);
    world[0].round_trip = 2ms;
    world[1].round_trip = 3ms;
    world[1].says = [](const Request&) { return ScriptedReply::error("OOM no memory"); };
    world.hang(2);
    world[3].round_trip = 20ms;
    world.refuse(4);  // the client learns of it only during the round
    const auto lock = locks.try_lock("name", 10s);
    ASSERT_FALSE(lock);
    const auto& nodes = lock.error().nodes();
    ASSERT_EQ(nodes.size(), 5U);
    EXPECT_EQ(nodes[0].latency, 2ms);
    EXPECT_EQ(nodes[1].latency, 3ms) << "a refusal is an answer";
    EXPECT_EQ(nodes[2].latency, 0ms) << to_string(nodes[2].vote);
    EXPECT_EQ(nodes[3].latency, 20ms);
    EXPECT_EQ(nodes[4].latency, 0ms) << to_string(nodes[4].vote);
}

TEST(Latency, a_connection_that_ends_is_no_answer) {
    World world{3};
    auto locks = connected_to(world);
    for (const std::size_t i : {0U, 2U}) world.put(i, "name", "another");
    world[0].round_trip = 5ms;
    world[1].round_trip = 40ms;
    world[2].round_trip = 10ms;
    world.before_telling = [&world] { world.cut(1); };
    const auto lock = locks.try_lock("name", 10s);
    ASSERT_FALSE(lock);
    const auto& nodes = lock.error().nodes();
    EXPECT_EQ(nodes[0].latency, 5ms);
    EXPECT_EQ(nodes[1].vote, Vote::unreachable);
    EXPECT_EQ(nodes[1].latency, 0ms);
    EXPECT_EQ(nodes[2].vote, Vote::pending);
    EXPECT_EQ(nodes[2].latency, 0ms);
}

// The second round of a fenced attempt asks only some of the nodes again.
TEST(Latency, what_was_answered_in_the_first_round_has_the_latency_of_that) {
    World world{3};
    Options options = plain_options();
    options.fencing = true;
    auto locks = connected_to(world, options);
    world[0].round_trip = 2ms;
    world[1].round_trip = 4ms;
    world.refuse(2);
    world.put(0, "{name}:redlock-fence", "9000000000000000");
    world[1].says = [](const Request& request) -> std::optional<ScriptedReply> {
        if (kind_of(request) != "commit") return std::nullopt;
        return ScriptedReply::error("OOM no memory");
    };
    const auto lock = locks.try_lock("name", 10s);
    ASSERT_FALSE(lock);
    const auto& nodes = lock.error().nodes();
    ASSERT_EQ(nodes[0].vote, Vote::granted);
    EXPECT_EQ(nodes[0].latency, 2ms);
    EXPECT_EQ(nodes[1].vote, Vote::refused);
    EXPECT_EQ(nodes[1].latency, 8ms);
    EXPECT_EQ(nodes[2].latency, 0ms);
}

}  // namespace
}  // namespace redlock::test

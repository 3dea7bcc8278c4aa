// Taking over what another held, over nodes in memory.
#include <gtest/gtest.h>

#include <string>

#include "unit/scripted_world.hpp"

namespace redlock::test {
namespace {

const Token passed_on = Token::parse("passed-on");

// As another process left it.
void leave_on(World& world, std::size_t count) {
    for (std::size_t i = 0; i < count; ++i) world.put(i, "name", passed_on.str());
}

TEST(Adopt, takes_over_what_a_quorum_holds_by_that_token) {
    World world{3};
    auto locks = connected_to(world);
    leave_on(world, 2);
    auto lock = locks.adopt("name", passed_on, 20s);
    ASSERT_TRUE(lock) << lock.error().message();
    EXPECT_EQ(lock->token(), passed_on);
    EXPECT_GT(lock->remaining(), 19s);
    EXPECT_TRUE(lock->unlock());
    world.let_arrive();
    EXPECT_EQ(world.count_holding("name"), 0U);
}

TEST(Adopt, takes_nothing_that_only_a_minority_holds) {
    World world{3};
    auto locks = connected_to(world);
    leave_on(world, 1);
    const auto lock = locks.adopt("name", passed_on, 20s);
    ASSERT_FALSE(lock);
    EXPECT_EQ(lock.error().code(), errc::lost);
}

TEST(Adopt, R1_the_validity_counts_from_before_the_send) {
    World world{3};
    auto locks = connected_to(world);
    leave_on(world, 3);
    const auto before = world.clock.now();
    const auto lock = locks.adopt("name", passed_on, 20s);
    ASSERT_TRUE(lock);
    EXPECT_GT(world.clock.now(), before);
    EXPECT_LT(lock->expires_at() - before, 20s);
}

TEST(Adopt, R4_nothing_is_taken_over_whose_validity_is_over) {
    World world{3};
    auto locks = connected_to(world);
    leave_on(world, 3);
    ASSERT_TRUE(locks.adopt("name", passed_on, 20s)) << "so that the nodes know the script";
    world.let_arrive();
    leave_on(world, 3);
    for (std::size_t i = 0; i < 3; ++i) world[i].round_trip = 40ms;
    const auto lock = locks.adopt("name", passed_on, 41ms);
    ASSERT_FALSE(lock);
    EXPECT_EQ(lock.error().code(), errc::too_slow);
}

}  // namespace
}  // namespace redlock::test

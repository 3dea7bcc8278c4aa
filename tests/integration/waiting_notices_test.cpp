// SPDX-License-Identifier: Apache-2.0
// A release notifies a waiter; without a notice, the waiter tries again at a set time.
#include <gtest/gtest.h>

#include <memory>
#include <thread>

#include "integration/waiting_parts.hpp"
#include "redlock/handoff.hpp"
#include "support/delay_proxy.hpp"

namespace redlock::test {
namespace {

TEST(WaitingNotices, the_release_notifies_a_waiter) {
    Cluster cluster{3};
    for (const bool fencing : {true, false}) {
        Options options = notified_only();
        options.fencing = fencing;
        auto holding = connect_to(cluster, options);
        auto locks = connect_to(cluster, options);
        auto held = holding.try_lock("name", 1h).value();
        auto waiting = wait_in_thread(locks, "name");
        ASSERT_TRUE(are_queued(cluster, "name", 1));
        ASSERT_TRUE(held.unlock());
        EXPECT_TRUE(is_soon_over(waiting));
        auto lock = waiting.get();
        ASSERT_TRUE(lock) << lock.error().message();
        EXPECT_TRUE(lock->unlock());
    }
    EXPECT_TRUE(is_clean(cluster));
}

TEST(WaitingNotices, so_does_the_release_by_a_destructor_and_that_of_an_adopted_lock) {
    Cluster cluster{3};
    auto holding = connect_to(cluster, notified_only());
    auto locks = connect_to(cluster, notified_only());
    for (const bool is_adopted : {false, true}) {
        auto held = std::make_unique<Lock>(holding.try_lock("name", 1h).value());
        if (is_adopted) *held = locks.adopt(held->detach(), 1h).value();
        auto waiting = wait_in_thread(locks, "name");
        ASSERT_TRUE(are_queued(cluster, "name", 1));
        held.reset();
        EXPECT_TRUE(is_soon_over(waiting));
        EXPECT_TRUE(waiting.get());
    }
    EXPECT_TRUE(is_clean(cluster));
}

TEST(WaitingNotices, a_release_between_the_failed_attempt_and_the_queue_is_not_missed) {
    Cluster cluster{3};
    DelayProxy proxy{cluster.uris(), 500us};
    auto holding = connect_to(cluster, notified_only());
    Redlock locks{proxy.uris(), notified_only()};
    constexpr int tries = 120;
    for (int i = -1; i < tries; ++i) {  // the first one connects
        auto held = holding.lock("name", for_long).value();
        auto waiting = wait_in_thread(locks, "name");
        // A moment within the waiter's first four round trips.
        const auto moment = i < 0 ? 100ms : i * 4ms / tries;
        static_cast<void>(eventually(moment, [] { return false; }));
        ASSERT_TRUE(held.unlock());
        ASSERT_TRUE(is_soon_over(waiting)) << "try " << i;
        auto lock = waiting.get();
        ASSERT_TRUE(lock) << "try " << i << ": " << lock.error().message();
        EXPECT_TRUE(lock->unlock());
    }
    EXPECT_TRUE(is_clean(cluster));
}

TEST(WaitingNotices, a_notice_that_is_lost_delays_a_waiter_no_longer_than_the_ttl) {
    Cluster cluster{3};
    DelayProxy proxy{cluster.uris(), 0us};
    auto holding = connect_to(cluster, soon_again());
    Redlock locks{proxy.uris(), soon_again()};
    auto held = holding.try_lock("name", 1h).value();
    auto waiting = wait_in_thread(locks, "name");
    ASSERT_TRUE(are_queued(cluster, "name", 1));
    for (std::size_t i = 0; i < cluster.size(); ++i) proxy.blackhole(i, Direction::to_client);
    ASSERT_TRUE(held.unlock());
    for (std::size_t i = 0; i < cluster.size(); ++i) {
        proxy.cut(i);
        proxy.resume(i);
    }
    EXPECT_TRUE(is_soon_over(waiting));
    auto lock = waiting.get();
    ASSERT_TRUE(lock) << lock.error().message();
    EXPECT_TRUE(lock->unlock());
    EXPECT_TRUE(is_clean(cluster));
}

TEST(WaitingNotices, a_holder_that_crashed_is_waited_for_no_longer_than_its_ttl) {
    Cluster cluster{3};
    auto locks = connect_to(cluster, notified_only());
    const auto before = std::chrono::steady_clock::now();
    occupy(cluster, "name", 700ms);
    auto lock = locks.lock("name", for_long);
    ASSERT_TRUE(lock) << lock.error().message();
    EXPECT_GE(std::chrono::steady_clock::now() - before, 600ms);
    EXPECT_TRUE(lock->unlock());
}

TEST(WaitingNotices, a_holder_that_notifies_nobody_is_looked_for_now_and_then) {
    Cluster cluster{3};
    auto locks = connect_to(cluster, soon_again());
    for (const auto ttl : {1h, 0h}) {
        if (ttl > 0h) {
            occupy(cluster, "name", ttl);
        } else {
            for (RedisServer& node : cluster) node.query({"SET", "name", "for good"});
        }
        auto waiting = wait_in_thread(locks, "name");
        ASSERT_TRUE(are_queued(cluster, "name", 1));
        vacate(cluster, "name");
        EXPECT_TRUE(is_soon_over(waiting));
        auto lock = waiting.get();
        ASSERT_TRUE(lock) << lock.error().message();
        EXPECT_TRUE(lock->unlock());
    }
    EXPECT_TRUE(is_clean(cluster));
}

TEST(WaitingNotices, several_resources_are_waited_for_together) {
    Cluster cluster{3};
    auto holding = connect_to(cluster, notified_only());
    auto locks = connect_to(cluster, notified_only());
    for (const bool is_a_first : {true, false}) {
        auto a = holding.try_lock("a", 1h).value();
        auto b = holding.try_lock("b", 1h).value();
        auto waiting = wait_in_thread(locks, {"a", "b"});
        ASSERT_TRUE(are_queued(cluster, "a", 1));
        ASSERT_TRUE(are_queued(cluster, "b", 1));
        ASSERT_TRUE((is_a_first ? a : b).unlock());
        ASSERT_TRUE(are_queued(cluster, is_a_first ? "a" : "b", 0));
        ASSERT_TRUE(are_queued(cluster, is_a_first ? "b" : "a", 1)) << "the other one is still held";
        ASSERT_TRUE((is_a_first ? b : a).unlock());
        EXPECT_TRUE(is_soon_over(waiting));
        auto both = waiting.get();
        ASSERT_TRUE(both) << both.error().message();
        EXPECT_TRUE(both->unlock());
    }
    EXPECT_TRUE(is_clean(cluster));
}

TEST(WaitingNotices, a_waiter_that_is_notified_and_needs_more_than_was_freed_notifies_the_next) {
    Cluster cluster{3};
    auto holding = connect_to(cluster, notified_only());
    auto greedy = connect_to(cluster, notified_only());
    auto modest = connect_to(cluster, notified_only());
    auto a = holding.try_lock("a", 1h).value();
    auto b = holding.try_lock("b", 1h).value();
    auto both = wait_in_thread(greedy, {"a", "b"});
    ASSERT_TRUE(are_queued(cluster, "a", 1));
    auto one = wait_in_thread(modest, "a");
    ASSERT_TRUE(are_queued(cluster, "a", 2));
    ASSERT_TRUE(a.unlock());
    EXPECT_TRUE(is_soon_over(one));
    EXPECT_TRUE(b.unlock());
    EXPECT_TRUE(one.get());
    EXPECT_TRUE(both.get());
}

}  // namespace
}  // namespace redlock::test

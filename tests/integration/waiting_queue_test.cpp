// SPDX-License-Identifier: Apache-2.0
// The queue on the nodes: which waiters are in it, in which order, and that no entry is left.
#include <gtest/gtest.h>

#include <optional>
#include <thread>

#include "integration/waiting_parts.hpp"
#include "support/delay_proxy.hpp"

namespace redlock::test {
namespace {

TEST(WaitingQueue, goes_with_those_who_stand_in_it_whatever_ends_their_wait) {
    Cluster cluster{3};
    auto holding = connect_to(cluster, notified_only());
    Options options = notified_only();
    options.node_timeout = 500ms;
    auto locks = connect_to(cluster, options);
    auto held = holding.try_lock("name", 1h).value();
    std::stop_source source;
    auto stopped = wait_in_thread(locks, "name", {.ttl = 1h, .wait = forever, .stop = source.get_token()});
    ASSERT_TRUE(are_queued(cluster, "name", 1));
    source.request_stop();
    EXPECT_EQ(stopped.get().error().code(), errc::cancelled);
    EXPECT_TRUE(are_queued(cluster, "name", 0)) << "at once, though the holder's ttl is an hour";

    auto late = wait_in_thread(locks, "name", {.ttl = 1h, .wait = 2s});
    EXPECT_EQ(late.get().error().code(), errc::contended);
    EXPECT_TRUE(are_queued(cluster, "name", 0));

    auto waiting = wait_in_thread(locks, "name");
    ASSERT_TRUE(are_queued(cluster, "name", 1));
    ASSERT_TRUE(held.unlock());
    ASSERT_TRUE(waiting.get());
    EXPECT_TRUE(is_clean(cluster));
}

TEST(WaitingQueue, ends_by_itself_where_those_who_stood_in_it_are_gone) {
    Cluster cluster{3};
    auto locks = connect_to(cluster, soon_again());
    occupy(cluster, "name", 1h);
    std::stop_source source;
    auto waiting = wait_in_thread(locks, "name", {.ttl = 1h, .wait = forever, .stop = source.get_token()});
    ASSERT_TRUE(are_queued(cluster, "name", 1));
    for (RedisServer& node : cluster) {
        const auto left = node.pttl(redlock::detail::queue_key("name"));
        ASSERT_TRUE(left.has_value());
        EXPECT_LE(*left, 2s) << "twice the time after which who waits looks again";
    }
    source.request_stop();
    EXPECT_FALSE(got(waiting.get()));
}

// The order in which five waiters, who arrive one after the other, get the lock.
std::vector<std::size_t> order_of_turns(Cluster& cluster) {
    constexpr std::size_t count = 5;
    auto holding = connect_to(cluster, notified_only());
    std::vector<Redlock> clients;
    for (std::size_t i = 0; i < count; ++i) clients.push_back(connect_to(cluster, notified_only()));
    auto held = holding.try_lock("name", 1h).value();
    std::vector<std::size_t> order;  // guarded by the lock itself
    std::vector<std::future<bool>> waiting;
    for (std::size_t i = 0; i < count; ++i) {
        waiting.push_back(std::async(std::launch::async, [&, i] {
            auto lock = clients[i].lock("name", for_long);
            if (lock) order.push_back(i);
            return lock && lock->unlock();
        }));
        EXPECT_TRUE(are_queued(cluster, "name", static_cast<long long>(i) + 1));
    }
    EXPECT_TRUE(held.unlock());
    for (auto& one : waiting) EXPECT_TRUE(one.get());
    return order;
}

// On a busy machine a node's notice may come so late that the waiter has tried without it and enters the
// queue anew, so the test tries up to three times. Any other order of service gives this one at most once in
// a hundred times.
TEST(WaitingQueue, calls_in_the_order_of_arrival) {
    Cluster cluster{3};
    const std::vector<std::size_t> of_arrival{0, 1, 2, 3, 4};
    std::vector<std::size_t> order;
    for (int tries = 0; tries < 3 && order != of_arrival; ++tries) order = order_of_turns(cluster);
    EXPECT_EQ(order, of_arrival);
    EXPECT_TRUE(is_clean(cluster));
}

// When the stop comes, the notice may have been sent, have arrived or have been followed by an attempt.
TEST(WaitingQueue, a_waiter_cancelled_as_it_is_notified_leaves_the_lock_to_the_next_one) {
    Cluster cluster{3};
    DelayProxy proxy{cluster.uris(), 300us};
    auto holding = connect_to(cluster, notified_only());
    Redlock first{proxy.uris(), notified_only()};
    Redlock second{proxy.uris(), notified_only()};
    constexpr int tries = 60;
    for (int i = 0; i < tries; ++i) {
        auto held = holding.lock("name", for_long).value();
        std::stop_source source;
        auto stopped = wait_in_thread(first, "name", {.ttl = 1h, .wait = 60s, .stop = source.get_token()});
        ASSERT_TRUE(are_queued(cluster, "name", 1));
        auto waiting = wait_in_thread(second, "name");
        ASSERT_TRUE(are_queued(cluster, "name", 2));
        ASSERT_TRUE(held.unlock());
        static_cast<void>(eventually(i * 2ms / tries, [] { return false; }));
        source.request_stop();
        static_cast<void>(stopped.get());  // if it got the lock, it is released here
        ASSERT_TRUE(is_soon_over(waiting)) << "try " << i;
        auto lock = waiting.get();
        ASSERT_TRUE(lock) << "try " << i << ": " << lock.error().message();
        EXPECT_TRUE(lock->unlock());
    }
    EXPECT_TRUE(is_clean(cluster));
}

// The client yields for a few milliseconds only. On a machine that stalls it may still be the first; then the
// test tries again.
TEST(WaitingQueue, a_waiter_cancelled_while_it_lets_others_go_first_leaves_the_queue_too) {
    Cluster cluster{3};
    auto one = connect_to(cluster, notified_only());
    auto other = connect_to(cluster, notified_only());
    const auto is_ready = [](const auto& waiting) {
        return waiting.wait_for(0s) == std::future_status::ready;
    };
    bool was_polite = false;
    for (int tries = 0; tries < 20 && !was_polite; ++tries) {
        auto held = one.lock("name", for_long).value();
        auto waiting = wait_in_thread(other, "name");
        ASSERT_TRUE(are_queued(cluster, "name", 1));
        ASSERT_TRUE(held.unlock());
        std::stop_source source;
        auto polite = wait_in_thread(one, "name", {.ttl = 1h, .wait = forever, .stop = source.get_token()});
        ASSERT_TRUE(eventually(patience, [&] { return is_ready(waiting) || is_ready(polite); }));
        was_polite = is_ready(waiting);
        if (was_polite) {
            auto lock = waiting.get();
            ASSERT_TRUE(lock) << lock.error().message();
            ASSERT_TRUE(are_queued(cluster, "name", 1));
            source.request_stop();
            EXPECT_EQ(polite.get().error().code(), errc::cancelled);
            EXPECT_TRUE(are_queued(cluster, "name", 0));
        } else {
            EXPECT_TRUE(polite.get().value().unlock());
            EXPECT_TRUE(waiting.get());
        }
    }
    EXPECT_TRUE(was_polite);
}

TEST(WaitingQueue, a_node_that_was_restarted_calls_again) {
    Cluster cluster{1};
    auto holding = connect_to(cluster, soon_again());
    auto locks = connect_to(cluster, soon_again());
    for (const bool is_restarted : {false, true}) {
        if (is_restarted) cluster[0].restart();
        auto held = holding.lock("name", for_long).value();
        auto waiting = wait_in_thread(locks, "name");
        ASSERT_TRUE(are_queued(cluster, "name", 1)) << "it stands there only while it hears of the calls";
        ASSERT_TRUE(held.unlock());
        EXPECT_TRUE(is_soon_over(waiting));
        auto lock = waiting.get();
        ASSERT_TRUE(lock) << lock.error().message();
        EXPECT_TRUE(lock->unlock());
    }
    EXPECT_TRUE(is_clean(cluster));
}

TEST(WaitingQueue, without_notify_nothing_of_it_is_sent) {
    Cluster cluster{3};
    Options options = soon_again();
    options.notify = false;
    auto holding = connect_to(cluster, options);
    auto locks = connect_to(cluster, options);
    auto held = holding.try_lock("name", 1h).value();
    const auto before = cluster.command_stat("evalsha");
    auto waiting = wait_in_thread(locks, "name");
    ASSERT_TRUE(eventually(patience, [&] { return cluster.command_stat("evalsha") > before + 20; }));
    ASSERT_TRUE(held.unlock());
    EXPECT_TRUE(is_soon_over(waiting));
    EXPECT_TRUE(waiting.get());
    for (const char* command : {"zadd", "zrange", "zrem", "publish", "subscribe", "pexpire"}) {
        EXPECT_EQ(cluster.command_stat(command), 0U) << command;
    }
}

TEST(WaitingQueue, who_never_waits_stands_in_none_and_subscribes_to_nothing) {
    Cluster cluster{3};
    auto locks = connect_to(cluster);
    for (int i = 0; i < 10; ++i) EXPECT_TRUE(locks.try_lock("name", 60s));
    EXPECT_TRUE(locks.lock("name", for_long));
    for (const char* command : {"zadd", "subscribe"}) EXPECT_EQ(cluster.command_stat(command), 0U) << command;
}

TEST(WaitingQueue, one_subscription_per_node_serves_all_who_wait_in_a_redlock) {
    Cluster cluster{3};
    auto holding = connect_to(cluster, notified_only());
    auto locks = connect_to(cluster, notified_only());
    const std::vector<std::string> names{"a", "b", "c", "d", "e", "f"};
    std::vector<Lock> held;
    std::vector<std::future<Result<Lock>>> waiting;
    for (const auto& name : names) held.push_back(holding.try_lock(name, 1h).value());
    for (const auto& name : names) waiting.push_back(wait_in_thread(locks, name));
    for (const auto& name : names) ASSERT_TRUE(are_queued(cluster, name, 1));
    for (RedisServer& node : cluster) EXPECT_EQ(node.command_stat("subscribe"), 1U);
    for (Lock& lock : held) EXPECT_TRUE(lock.unlock());
    for (auto& one : waiting) EXPECT_TRUE(one.get());
}

}  // namespace
}  // namespace redlock::test

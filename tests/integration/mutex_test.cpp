// SPDX-License-Identifier: Apache-2.0
// Mutex, used through the standard library's locks.
#include "redlock/mutex.hpp"

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <mutex>
#include <optional>
#include <stop_token>
#include <string>
#include <thread>
#include <vector>

#include "integration/holding_nodes.hpp"

namespace redlock::test {
namespace {

class MutexTest : public testing::Test {
   protected:
    [[nodiscard]] bool is_free(const std::string& name) { return got(locks.try_lock(name, 30s)); }

    Cluster cluster{3};
    Redlock locks{cluster.uris(), holding_options()};
    Redlock others{cluster.uris(), holding_options()};
    Mutex mutex{locks, "name", {.ttl = 30s}};
};

TEST_F(MutexTest, A_lock_guard_holds_the_resource_for_its_scope) {
    {
        const std::lock_guard guard{mutex};
        EXPECT_EQ(others.try_lock("name", 30s).error(), errc::contended);
        EXPECT_TRUE(mutex.held().owns_lock());
        EXPECT_GT(mutex.held().fencing_token(), 0U);
    }
    EXPECT_TRUE(is_free("name"));
}

TEST_F(MutexTest, A_unique_lock_may_be_tried_deferred_and_unlocked) {
    std::unique_lock lock{mutex, std::defer_lock};
    EXPECT_FALSE(lock.owns_lock());
    EXPECT_TRUE(lock.try_lock());
    EXPECT_EQ(others.try_lock("name", 30s).error(), errc::contended);
    lock.unlock();
    lock.lock();
    std::unique_lock moved = std::move(lock);
    EXPECT_TRUE(moved.owns_lock());
    moved.unlock();
    EXPECT_TRUE(is_free("name"));
}

TEST_F(MutexTest, A_scoped_lock_takes_two_in_any_order) {
    Mutex second{locks, "second", {.ttl = 30s}};
    std::atomic<int> inside{0};
    std::atomic<int> together{0};
    const auto work = [&](auto& a, auto& b) {
        for (int i = 0; i < 50; ++i) {
            const std::scoped_lock both{a, b};
            if (++inside != 1) ++together;
            --inside;
        }
    };
    std::thread other{[&] { work(second, mutex); }};
    work(mutex, second);
    other.join();
    EXPECT_EQ(together, 0);
}

TEST_F(MutexTest, Lock_over_two_of_two_processes_never_deadlocks) {
    std::atomic<int> inside{0};
    std::atomic<int> together{0};
    const auto work = [&](Redlock& from, const char* first, const char* second) {
        Mutex a{from, first, {.ttl = 30s}};
        Mutex b{from, second, {.ttl = 30s}};
        for (int i = 0; i < 20; ++i) {
            std::lock(a, b);
            if (++inside != 1) ++together;
            --inside;
            a.unlock();
            b.unlock();
        }
    };
    std::thread other{[&] { work(others, "b", "a"); }};
    work(locks, "a", "b");
    other.join();
    EXPECT_EQ(together, 0);
}

TEST_F(MutexTest, Is_a_mutex_between_the_threads_of_a_process_too) {
    constexpr int rounds = 100;
    int counter = 0;  // guarded only by the mutex: a sanitizer would report a race
    std::vector<std::thread> threads;
    for (int t = 0; t < 4; ++t) {
        threads.emplace_back([&] {
            for (int i = 0; i < rounds; ++i) {
                const std::lock_guard guard{mutex};
                ++counter;
            }
        });
    }
    for (auto& thread : threads) thread.join();
    EXPECT_EQ(counter, 4 * rounds);
}

TEST_F(MutexTest, Lock_waits_for_another_client) {
    auto held = others.try_lock("name", 30s).value();
    std::atomic<bool> is_in{false};
    std::thread waiter{[&] {
        const std::lock_guard guard{mutex};
        is_in = true;
    }};
    // Longer than the second for which lock() waits for nodes that do not answer.
    EXPECT_TRUE(never_within(1300ms, [&] { return is_in.load(); }));
    EXPECT_TRUE(held.unlock());
    waiter.join();
    EXPECT_TRUE(is_in);
}

TEST_F(MutexTest, Try_lock_for_and_until_end_in_time) {
    auto held = others.try_lock("name", 30s).value();
    EXPECT_FALSE(mutex.try_lock());
    const auto began = std::chrono::steady_clock::now();
    EXPECT_FALSE(mutex.try_lock_for(200ms));
    EXPECT_FALSE(mutex.try_lock_until(std::chrono::system_clock::now() + 200ms));
    EXPECT_FALSE(mutex.try_lock_until(std::chrono::steady_clock::now() - 1s));
    EXPECT_FALSE(mutex.try_lock_for(-1h));
    EXPECT_LT(std::chrono::steady_clock::now() - began, 5s);
    EXPECT_TRUE(held.unlock());
    EXPECT_TRUE(mutex.try_lock_for(10s));
    mutex.unlock();
    EXPECT_TRUE(mutex.try_lock_for(std::chrono::hours::max())) << "longer than any clock can say";
    mutex.unlock();
    std::unique_lock by_time{mutex, std::chrono::system_clock::now() + 10s};
    EXPECT_TRUE(by_time.owns_lock());
}

TEST_F(MutexTest, Try_lock_for_gets_in_when_the_holder_leaves) {
    auto held = others.try_lock("name", 30s).value();
    std::atomic<bool> is_waiting{false};
    std::thread waiter{[&] {
        is_waiting = true;
        EXPECT_TRUE(mutex.try_lock_for(20s));
        mutex.unlock();
    }};
    EXPECT_TRUE(eventually(patience, [&] { return is_waiting.load(); }));
    EXPECT_TRUE(held.unlock());
    waiter.join();
}

TEST_F(MutexTest, A_thread_of_the_same_process_waits_no_longer_than_it_may) {
    const std::lock_guard guard{mutex};
    std::thread other{[&] {
        EXPECT_FALSE(mutex.try_lock());
        EXPECT_FALSE(mutex.try_lock_for(50ms));
        EXPECT_FALSE(mutex.try_lock_until(std::chrono::system_clock::now() + 50ms));
    }};
    other.join();
}

TEST_F(MutexTest, Throws_when_the_nodes_are_dead_and_works_when_they_are_back) {
    cluster.kill_first(2);
    try {
        mutex.lock();
        FAIL() << "it is locked";
    } catch (const Error& error) {
        EXPECT_EQ(error.code(), errc::unreachable);
        EXPECT_EQ(error.nodes().size(), 3U);
    }
    EXPECT_FALSE(mutex.try_lock());
    EXPECT_FALSE(mutex.try_lock_for(50ms));
    cluster.heal();
    EXPECT_TRUE(mutex.try_lock_for(20s));
    mutex.unlock();
}

TEST_F(MutexTest, Lock_gives_up_after_the_wait_that_it_was_made_with) {
    Mutex hasty{locks, "name", {.ttl = 30s, .wait = 150ms}};
    {
        const auto held = others.try_lock("name", 30s);
        EXPECT_THROW(hasty.lock(), Error);
    }
    hasty.lock();
    std::thread other{[&] { EXPECT_THROW(hasty.lock(), Error); }};
    other.join();
    hasty.unlock();
}

TEST_F(MutexTest, A_stop_ends_the_wait_for_another_client) {
    std::stop_source stop;
    Mutex stoppable{locks, "name", {.ttl = 30s, .wait = forever, .stop = stop.get_token()}};
    const auto held = others.try_lock("name", 30s);
    std::thread waiter{[&] {
        try {
            stoppable.lock();
            ADD_FAILURE() << "it is locked";
        } catch (const Error& error) {
            EXPECT_EQ(error.code(), errc::cancelled);
        }
    }};
    stop.request_stop();
    waiter.join();
}

TEST_F(MutexTest, A_stop_ends_the_wait_for_a_thread_of_the_same_process) {
    std::stop_source stop;
    Mutex stoppable{locks, "name", {.ttl = 30s, .wait = 3s, .stop = stop.get_token()}};
    stoppable.lock();
    std::thread waiter{[&] {
        try {
            stoppable.lock();
            ADD_FAILURE() << "it is locked";
        } catch (const Error& error) {
            EXPECT_EQ(error.code(), errc::cancelled);
        }
    }};
    stop.request_stop();
    waiter.join();
    stoppable.unlock();
}

TEST_F(MutexTest, Unlock_is_quiet_where_the_nodes_are_not_to_be_reached) {
    mutex.lock();
    cluster.pause_first(3);
    mutex.unlock();
    EXPECT_FALSE(mutex.try_lock());
    cluster.resume_all();
    EXPECT_TRUE(mutex.try_lock_for(20s));
    mutex.unlock();
}

TEST_F(MutexTest, Holds_several_resources_and_renews_them) {
    Mutex both{locks, {"a", "b"}, {.ttl = short_ttl, .renew = true}};
    const std::lock_guard guard{both};
    const auto is_lost = [&] { return !both.held().owns_lock(); };
    EXPECT_TRUE(never_within(900ms, is_lost));
    EXPECT_EQ(others.try_lock("b", 30s).error(), errc::contended);
}

}  // namespace
}  // namespace redlock::test

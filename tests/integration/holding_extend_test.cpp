// SPDX-License-Identifier: Apache-2.0
// Extensions of one lock from several threads and its renewal, on real nodes. Rule R33.
#include <gtest/gtest.h>

#include <atomic>
#include <barrier>
#include <cstddef>
#include <string>
#include <thread>
#include <vector>

#include "integration/holding_nodes.hpp"

namespace redlock::test {
namespace {

// A stalled machine may make a call fail, but no call may report a success that is none.
struct Outcome {
    std::atomic<std::size_t> successes{0};
    std::atomic<std::size_t> broken_promises{0};

    void extend(Lock& lock, std::chrono::milliseconds ttl, std::chrono::milliseconds least) {
        if (!lock.extend(ttl)) return;
        ++successes;
        if (lock.remaining() < least) ++broken_promises;
    }
};

// Waits until `left` of the validity is left, about when a renewal is due, or another thread has extended it.
void await_renewal(const Lock& lock, std::chrono::microseconds left) {
    const auto is_longer = [&] { return lock.remaining() > left && lock.remaining() < 1s; };
    while (is_longer()) std::this_thread::yield();
}

TEST(HoldingExtend, R33_two_threads_beside_a_renewal_get_what_they_asked_for) {
    Nodes nodes{3};
    Outcome outcome;
    for (int n = 0; n < 300; ++n) {
        auto lock = nodes.locks.lock("name " + std::to_string(n), {.ttl = 30ms, .renew = true});
        if (!lock) continue;
        std::barrier together{2};
        const auto body = [&](std::chrono::microseconds left) {
            together.arrive_and_wait();
            await_renewal(*lock, left);
            outcome.extend(*lock, 60s, 50s);
        };
        std::thread other{body, 19'600us + 7us * (n % 37)};
        body(19'500us + 11us * (n % 31));
        other.join();
        EXPECT_LT(lock->remaining(), 60s);
    }
    EXPECT_GT(outcome.successes, 100U);
    EXPECT_EQ(outcome.broken_promises, 0U);
}

TEST(HoldingExtend, R33_many_threads_that_extend_and_look_all_the_time_see_it_held) {
    Nodes nodes{3};
    auto lock = nodes.hold_everywhere({.ttl = 20s, .renew = true});
    const auto lost = lock.lost();
    constexpr int rounds = 1000;
    Outcome outcome;
    std::atomic<std::size_t> torn{0};
    std::vector<std::thread> threads;
    for (const auto ttl : {20s, 20s, 30s, 40s}) {
        threads.emplace_back([&, ttl] {
            for (int n = 0; n < rounds; ++n) {
                outcome.extend(lock, ttl, 15s);
                const auto left = lock.remaining();
                if (left < 5s || left > 41s || !lock.owns_lock()) ++torn;
            }
        });
    }
    for (std::thread& thread : threads) thread.join();
    EXPECT_GT(outcome.successes, 2U * rounds);
    EXPECT_EQ(outcome.broken_promises, 0U);
    EXPECT_EQ(torn, 0U);
    EXPECT_FALSE(lost.stop_requested());
    EXPECT_TRUE(lock.unlock());
    EXPECT_TRUE(eventually(patience, [&] { return nodes.cluster.keys_left().empty(); }));
}

TEST(HoldingExtend, R13_an_unlock_beside_extensions_leaves_nothing_behind) {
    Nodes nodes{3};
    for (int n = 0; n < 100; ++n) {
        auto lock = nodes.locks.try_lock("name " + std::to_string(n), 60s).value();
        std::barrier together{4};
        std::atomic<bool> is_unlocked{false};
        std::atomic<std::size_t> failures{0};
        std::vector<std::thread> threads;
        for (int i = 0; i < 3; ++i) {
            threads.emplace_back([&] {
                together.arrive_and_wait();
                for (;;) {
                    const bool was_unlocked = is_unlocked;
                    const auto extended = lock.extend(60s);
                    if (was_unlocked && extended) ++failures;
                    if (was_unlocked) break;
                }
            });
        }
        together.arrive_and_wait();
        EXPECT_TRUE(lock.unlock());
        is_unlocked = true;
        for (std::thread& thread : threads) thread.join();
        EXPECT_EQ(failures, 0U);
    }
    EXPECT_TRUE(eventually(patience, [&] {
        static_cast<void>(nodes.locks.inspect("another"));
        return nodes.cluster.keys_left().empty();
    }));
}

}  // namespace
}  // namespace redlock::test

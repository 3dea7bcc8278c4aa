// SPDX-License-Identifier: Apache-2.0
// The end of holding: unlock against renewal, Redlock and Locks outliving each other, nothing left. R13, R18.
#include <gtest/gtest.h>
#include <malloc.h>

#include <algorithm>
#include <atomic>
#include <filesystem>
#include <iterator>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "integration/holding_nodes.hpp"
#include "support/delay_proxy.hpp"

namespace redlock::test {
namespace {

std::size_t threads_of_this_process() {
    const std::filesystem::directory_iterator tasks{"/proc/self/task"};
    return static_cast<std::size_t>(std::distance(begin(tasks), end(tasks)));
}

// Nodes behind a delay, so that requests are in transit for a while.
struct FarNodes {
    FarNodes()
        : cluster{3},
          proxy{cluster.uris(), 2ms},
          locks{std::make_unique<Redlock>(proxy.uris(), holding_options())} {}

    // Destroys the client, which drains, and waits until all bytes in the proxy have arrived.
    void drain() {
        locks.reset();
        ASSERT_TRUE(eventually(patience, [this] { return proxy.connections() == 0; }));
    }

    Cluster cluster;
    DelayProxy proxy;
    std::unique_ptr<Redlock> locks;
};

// One that all nodes have granted, so that one of them may lose it. On a busy machine an attempt may miss a
// node, and then another is made.
Lock lock_on_all(FarNodes& nodes, const std::string& name) {
    const auto has_vote = [](Vote vote) {
        return [vote](const NodeReport& node) { return node.vote == vote; };
    };
    for (;;) {
        auto lock = nodes.locks->lock(name, {.ttl = 30s, .wait = 10s}).value();
        std::vector<NodeReport> votes;
        static_cast<void>(eventually(patience, [&] {
            votes = lock.nodes();
            return std::ranges::none_of(votes, has_vote(Vote::pending));
        }));
        if (std::ranges::all_of(votes, has_vote(Vote::granted))) return lock;
    }
}

// extend() with a short ttl makes a renewal due within milliseconds, which sets the ttl to 30 s again. One
// node has lost its key, so the renewal has a key to put back. unlock() follows `after` a variable time.
void unlock_amid_renewal(FarNodes& nodes, const std::string& name, std::chrono::microseconds after) {
    auto lock = nodes.locks->lock(name, {.ttl = 30s, .wait = 10s, .renew = true}).value();
    nodes.cluster[0].query({"DEL", name});
    const auto extended = lock.extend(60ms);
    if (!extended) return;  // on a stalled machine the validity may have ended
    const auto due = lock.expires_at() - 40ms + after;
    static_cast<void>(eventually(
        patience, [&] { return (LeaseClock::now() - due).count() >= 0 || lock.remaining() > 1s; }));
    static_cast<void>(lock.unlock());
    EXPECT_FALSE(lock.owns_lock());
}

TEST(HoldingUnlock, R13_unlock_amid_a_renewal_leaves_no_key) {
    FarNodes nodes;
    constexpr int threads = 8;
    constexpr int rounds = 25;
    std::vector<std::thread> running;
    for (int t = 0; t < threads; ++t) {
        running.emplace_back([&nodes, t] {
            for (int i = 0; i < rounds; ++i) {
                const auto name = std::to_string(t) + "/" + std::to_string(i);
                unlock_amid_renewal(nodes, name, std::chrono::microseconds{350 * i});
            }
        });
    }
    for (auto& thread : running) thread.join();
    nodes.drain();
    EXPECT_TRUE(never_within(50ms, [&] { return !nodes.cluster.keys_left().empty(); }));
}

TEST(HoldingUnlock, R13_unlock_against_extend_of_another_thread_leaves_no_key) {
    FarNodes nodes;
    for (int i = 0; i < 150; ++i) {
        const auto name = "name/" + std::to_string(i);
        auto lock = lock_on_all(nodes, name);
        nodes.cluster[0].query({"DEL", name});
        std::atomic<int> extensions{0};
        std::thread extender{[&] {
            while (lock.extend(30s)) ++extensions;
        }};
        static_cast<void>(eventually(patience, [&] { return extensions == i % 3; }));
        const auto unlocked = lock.unlock();
        EXPECT_TRUE(unlocked) << unlocked.error().message();
        extender.join();
    }
    nodes.drain();
    EXPECT_TRUE(never_within(50ms, [&] { return !nodes.cluster.keys_left().empty(); }));
}

TEST(HoldingUnlock, A_lock_goes_on_being_renewed_when_its_Redlock_is_gone) {
    Cluster cluster{3};
    auto locks = std::make_unique<Redlock>(cluster.uris(), holding_options());
    std::vector<Lock> held;
    for (const auto* name : {"a", "b"})
        held.push_back(locks->lock(name, {.ttl = short_ttl, .renew = true}).value());
    locks.reset();
    const auto is_lost = [&] { return !held[0].owns_lock() || !held[1].owns_lock(); };
    EXPECT_TRUE(never_within(3 * short_ttl, is_lost));
    EXPECT_TRUE(held[0].extend(10s));
    held.pop_back();
    EXPECT_TRUE(eventually(patience, [&] { return cluster.count_holding("b") == 0; }));
    EXPECT_GE(cluster.count_holding("a"), 2U);
    EXPECT_TRUE(held[0].unlock());
    held.clear();
    EXPECT_TRUE(cluster.keys_left().empty());
}

TEST(HoldingUnlock, Cycles_with_renewal_leave_no_traffic_and_nothing_in_memory) {
    Nodes nodes{3};
    const auto cycles = [&] {
        for (int i = 0; i < 707; ++i) {
            const auto name = "name/" + std::to_string(i % 7);
            auto lock = nodes.locks.lock(name, {.ttl = short_ttl, .wait = 10s, .renew = true}).value();
            if (i % 2 == 0) lock.unlock().value();
        }
        static_cast<void>(nodes.locks.inspect("name"));  // waits for all that was sent
        return ::mallinfo2().uordblks;
    };
    cycles();
    const auto threads = threads_of_this_process();
    const auto used = cycles();
    const auto used_later = cycles();
    EXPECT_LT(used_later, used + 64 * 1024);
    EXPECT_EQ(threads_of_this_process(), threads);
    const auto scripts = nodes.cluster.command_stat("evalsha");
    EXPECT_GT(scripts, 0U);
    EXPECT_TRUE(
        never_within(2 * short_ttl, [&] { return nodes.cluster.command_stat("evalsha") != scripts; }));
    EXPECT_TRUE(nodes.cluster.keys_left().empty());
}

TEST(HoldingUnlock, All_leases_are_renewed_by_one_thread) {
    Nodes nodes{3};
    std::vector<Lock> held;
    const auto hold = [&] {
        const auto name = "name/" + std::to_string(held.size());
        held.push_back(nodes.locks.lock(name, {.ttl = 1s, .renew = true}).value());
    };
    const auto before = threads_of_this_process();
    for (int i = 0; i < 100; ++i) hold();
    EXPECT_LE(threads_of_this_process(), before + 1);
    EXPECT_TRUE(never_within(1500ms, [&] {
        return std::any_of(held.begin(), held.end(), [](const Lock& lock) { return !lock.owns_lock(); });
    }));
}

TEST(HoldingUnlock, R18_what_is_left_at_the_end_of_a_Redlock_is_released) {
    Cluster cluster{5};
    {
        Redlock locks{cluster.uris(), holding_options()};
        std::vector<Lock> held;
        for (int i = 0; i < 50; ++i) {
            held.push_back(locks.lock("name/" + std::to_string(i), {.ttl = 30s, .renew = true}).value());
        }
    }
    EXPECT_TRUE(eventually(patience, [&] { return cluster.keys_left().empty(); }));
}

}  // namespace
}  // namespace redlock::test

// SPDX-License-Identifier: Apache-2.0
// lost(): when it is triggered, when it is not, and what its callbacks may do. Rules R10, R11, R15.
#include <gtest/gtest.h>

#include <atomic>
#include <functional>
#include <memory>
#include <optional>
#include <stop_token>
#include <string>
#include <thread>
#include <vector>

#include "integration/holding_nodes.hpp"

namespace redlock::test {
namespace {

using OnLost = std::stop_callback<std::function<void()>>;

bool eventually_lost(const std::stop_token& lost) {
    return eventually(patience, [&] { return lost.stop_requested(); });
}

TEST(HoldingLost, R15_is_triggered_at_the_end_of_the_validity_and_not_before) {
    Nodes nodes{3};
    auto lock = nodes.locks.try_lock("name", short_ttl).value();
    std::atomic<std::int64_t> late_ns{-1};
    std::atomic<bool> was_owned{true};
    const OnLost on_lost{lock.lost(), [&] {
                             was_owned = lock.owns_lock();
                             late_ns = (LeaseClock::now() - lock.expires_at()).count();
                         }};
    EXPECT_TRUE(eventually(patience, [&] { return late_ns != -1; }));
    EXPECT_GE(late_ns, 0);
    EXPECT_FALSE(was_owned);
}

TEST(HoldingLost, Is_not_triggered_by_unlock) {
    Nodes nodes{3};
    std::vector<std::stop_token> tokens;
    std::atomic<int> calls{0};
    std::vector<std::unique_ptr<OnLost>> callbacks;
    for (const bool renew : {false, true}) {
        auto lock = nodes.locks.lock("name", {.ttl = short_ttl, .renew = renew}).value();
        tokens.push_back(lock.lost());
        callbacks.push_back(std::make_unique<OnLost>(tokens.back(), [&] { ++calls; }));
        EXPECT_TRUE(lock.unlock());
        EXPECT_FALSE(lock.lost().stop_requested());
    }
    const auto any = [&] { return calls != 0 || tokens[0].stop_requested() || tokens[1].stop_requested(); };
    EXPECT_TRUE(never_within(2 * short_ttl, any));
}

TEST(HoldingLost, Is_not_triggered_by_the_end_of_the_scope_nor_by_detach) {
    Nodes nodes{3};
    std::vector<std::stop_token> tokens;
    tokens.push_back(nodes.locks.lock("scope", {.ttl = short_ttl, .renew = true}).value().lost());
    auto lock = nodes.locks.lock("detached", {.ttl = short_ttl, .renew = true}).value();
    tokens.push_back(lock.lost());
    const Handoff handoff = lock.detach();
    const auto any = [&] { return tokens[0].stop_requested() || tokens[1].stop_requested(); };
    EXPECT_TRUE(never_within(2 * short_ttl, any));
}

TEST(HoldingLost, R15_is_triggered_with_every_node_hung) {
    Nodes nodes{5};
    auto renewed = nodes.locks.lock("renewed", {.ttl = short_ttl, .renew = true}).value();
    auto plain = nodes.locks.try_lock("plain", short_ttl).value();
    const auto lost_renewed = renewed.lost();
    const auto lost_plain = plain.lost();
    nodes.cluster.pause_first(5);
    EXPECT_TRUE(eventually_lost(lost_renewed));
    EXPECT_TRUE(eventually_lost(lost_plain));
    EXPECT_FALSE(renewed.owns_lock());
    EXPECT_GE((LeaseClock::now() - renewed.expires_at()).count(), 0);
    EXPECT_EQ(renewed.unlock().error(), errc::lost);
    nodes.cluster.resume_all();
}

TEST(HoldingLost, Is_triggered_when_a_quorum_says_no_long_before_the_validity_ends) {
    Nodes nodes{3};
    auto lock = nodes.hold_everywhere({.ttl = 60s});
    const auto lost = lock.lost();
    for (const std::size_t i : {0U, 1U}) nodes.cluster[i].query({"DEL", "name"});
    EXPECT_EQ(lock.extend(60s).error(), errc::lost);
    EXPECT_TRUE(eventually_lost(lost));
    EXPECT_FALSE(lock.owns_lock());
    EXPECT_EQ(lock.remaining(), 0ns);
}

TEST(HoldingLost, Is_triggered_already_when_asked_for_late) {
    Nodes nodes{3};
    auto lock = nodes.locks.try_lock("name", 100ms).value();
    ASSERT_TRUE(eventually(patience, [&] { return !lock.owns_lock(); }));
    EXPECT_TRUE(eventually_lost(lock.lost()));
    EXPECT_EQ(lock.unlock().error(), errc::lost);
    EXPECT_TRUE(lock.lost().stop_requested());
}

TEST(HoldingLost, Waits_for_the_new_deadline_after_an_extension) {
    Nodes nodes{3};
    auto lock = nodes.locks.try_lock("name", short_ttl).value();
    const auto lost = lock.lost();
    const auto old = lock.expires_at();
    ASSERT_TRUE(lock.extend(3 * short_ttl));
    EXPECT_TRUE(
        eventually(patience, [&] { return lost.stop_requested() || LeaseClock::now() - old > short_ttl; }));
    EXPECT_FALSE(lost.stop_requested());
    EXPECT_TRUE(eventually_lost(lost));
    EXPECT_GE((LeaseClock::now() - lock.expires_at()).count(), 0);
}

TEST(HoldingLost, R10_a_shorter_ttl_counts_before_any_node_has_answered) {
    Nodes nodes{3};
    auto lock = nodes.locks.try_lock("name", 60s).value();
    const auto lost = lock.lost();
    nodes.cluster.pause_first(3);
    std::thread extender{[&] { EXPECT_EQ(lock.extend(1s).error(), errc::unknown); }};
    EXPECT_TRUE(eventually(patience, [&] { return lock.remaining() <= 1s; }));
    extender.join();
    EXPECT_LE(lock.remaining(), 1s);
    EXPECT_GT(lock.remaining(), 0s);
    EXPECT_TRUE(eventually_lost(lost));
    nodes.cluster.resume_all();
}

// The nodes may still run the earlier extension, but the old, later deadline never comes back.
TEST(HoldingLost, R10_a_lowered_deadline_stays_when_the_nodes_come_back) {
    Nodes nodes{3};
    auto lock = nodes.hold_everywhere({.ttl = 60s});
    ASSERT_TRUE(lock.extend(60s));
    nodes.cluster.pause_first(3);
    EXPECT_EQ(lock.extend(3s).error(), errc::unknown);
    const auto lowered = lock.expires_at();
    nodes.cluster.resume_all();
    const auto has_run = [&] {
        bool any = false;
        for (auto& node : nodes.cluster) any = any || node.pttl("name").value_or(0s) <= 3s;
        return any;
    };
    EXPECT_TRUE(eventually(patience, has_run));
    EXPECT_EQ(lock.expires_at(), lowered);
    EXPECT_TRUE(lock.extend(60s));
    EXPECT_GT(lock.remaining(), 50s);
}

TEST(HoldingLost, R11_extending_what_has_ended_is_lost_and_acquires_nothing) {
    Nodes nodes{3};
    auto lock = nodes.locks.try_lock("name", 100ms).value();
    ASSERT_TRUE(eventually(patience, [&] { return nodes.cluster.keys_left().empty(); }));
    EXPECT_EQ(lock.extend(60s).error(), errc::lost);
    EXPECT_FALSE(lock.owns_lock());
    EXPECT_TRUE(nodes.cluster.keys_left().empty());
}

TEST(HoldingLost, A_callback_may_unlock_and_may_lock_on_the_same_Redlock) {
    Nodes nodes{3};
    auto lock = nodes.locks.lock("name", {.ttl = short_ttl, .renew = true, .renew_limit = short_ttl}).value();
    std::atomic<bool> is_done{false};
    std::optional<errc> unlocked;
    std::optional<Lock> next;
    const OnLost on_lost{lock.lost(), [&] {
                             const auto result = lock.unlock();
                             if (!result) unlocked = result.error().code();
                             next = nodes.locks.lock("name", {.ttl = 60s, .wait = 10s}).value();
                             EXPECT_FALSE(lock.owns_lock());
                             EXPECT_TRUE(next->extend(60s));
                             is_done = true;
                         }};
    EXPECT_TRUE(eventually(patience, [&] { return is_done.load(); }));
    EXPECT_EQ(unlocked, errc::lost);
    EXPECT_TRUE(next->owns_lock());
    // The thread that ran the callback goes on to renew other leases.
    auto other = nodes.locks.lock("other", {.ttl = short_ttl, .renew = true}).value();
    EXPECT_TRUE(never_within(2 * short_ttl, [lost = other.lost()] { return lost.stop_requested(); }));
}

// The lock is lost in the caller's own extend(). The callback runs while the library holds no mutex.
TEST(HoldingLost, A_callback_may_use_a_lock_that_another_thread_is_extending) {
    Nodes nodes{3};
    auto lock = nodes.hold_everywhere({.ttl = 60s});
    std::atomic<bool> is_done{false};
    const OnLost on_lost{lock.lost(), [&] {
                             EXPECT_FALSE(lock.unlock());
                             EXPECT_TRUE(nodes.locks.lock("name", {.ttl = 60s, .wait = 10s}));
                             is_done = true;
                         }};
    for (auto& node : nodes.cluster) node.query({"DEL", "name"});
    EXPECT_EQ(lock.extend(60s).error(), errc::lost);
    EXPECT_TRUE(eventually(patience, [&] { return is_done.load(); }));
}

// DESIGN 10: "renewal thread joins itself".
TEST(HoldingLost, A_callback_may_destroy_the_last_lock_of_a_Redlock_that_is_gone) {
    Cluster cluster{3};
    auto locks = std::make_unique<Redlock>(cluster.uris(), holding_options());
    auto lock = std::make_unique<Lock>(
        locks->lock("name", {.ttl = short_ttl, .renew = true, .renew_limit = short_ttl}).value());
    std::atomic<bool> is_done{false};
    const OnLost on_lost{lock->lost(), [&] {
                             lock.reset();
                             is_done = true;
                         }};
    locks.reset();
    EXPECT_TRUE(eventually(patience, [&] { return is_done.load(); }));
    EXPECT_TRUE(eventually(patience, [&] { return cluster.keys_left().empty(); }));
}

TEST(HoldingLost, Many_leases_are_all_told_and_none_early) {
    Nodes nodes{3};
    constexpr std::size_t count = 2000;
    std::vector<Lock> held;
    std::vector<std::unique_ptr<OnLost>> callbacks;
    std::atomic<std::size_t> told{0};
    std::atomic<std::size_t> early{0};
    held.reserve(count);
    for (std::size_t i = 0; i < count; ++i) {
        held.push_back(nodes.locks.lock("name/" + std::to_string(i), {.ttl = 1s, .wait = 5s}).value());
        callbacks.push_back(std::make_unique<OnLost>(held.back().lost(), [&, lock = &held.back()] {
            if (lock->owns_lock()) ++early;
            ++told;
        }));
    }
    EXPECT_TRUE(eventually(patience, [&] { return told == count; }));
    EXPECT_EQ(early, 0U);
}

TEST(HoldingLost, The_token_outlives_lock_and_Redlock) {
    Cluster cluster{3};
    std::stop_token lost;
    {
        Redlock locks{cluster.uris(), holding_options()};
        lost = locks.try_lock("name", 60s).value().lost();
    }
    EXPECT_FALSE(lost.stop_requested());
    EXPECT_FALSE(Lock{}.lost().stop_possible());
}

// One thread learns from the nodes that the lock is gone; at about that moment another one calls lost().
TEST(HoldingLost, Is_triggered_though_it_was_asked_for_while_the_nodes_said_no) {
    using Steady = std::chrono::steady_clock;
    Nodes nodes{1};
    auto delay = std::chrono::nanoseconds{100us};
    for (int i = 0; i < 1000; ++i) {
        auto lock = nodes.locks.lock("name", {.ttl = 60s, .wait = 10s}).value();
        nodes.cluster[0].query({"DEL", "name"});
        std::atomic<bool> is_ready{false};
        std::stop_token lost;
        std::thread asks{[&] {
            is_ready = true;
            for (const auto begin = Steady::now(); Steady::now() - begin < delay;) {
            }
            lost = lock.lost();
        }};
        while (!is_ready) {
        }
        const auto begin = Steady::now();
        EXPECT_FALSE(lock.extend(60s));
        const std::chrono::nanoseconds took = Steady::now() - begin;
        asks.join();
        delay = took - 30us + (i % 400) * 100ns;  // about when the answer arrives
        ASSERT_TRUE(eventually_lost(lost)) << "after " << i;
    }
}

}  // namespace
}  // namespace redlock::test

// SPDX-License-Identifier: Apache-2.0
// Split votes: contenders that each have a minority resolve the split by asking the same node first.
#include <gtest/gtest.h>

#include <thread>

#include "integration/waiting_parts.hpp"
#include "support/delay_proxy.hpp"

namespace redlock::test {
namespace {

Options polling() {
    Options options = patient();
    options.notify = false;
    options.fencing = false;  // so that an attempt is a SET
    options.retry = {.base = 1ms, .cap = 2ms};
    return options;
}

std::vector<std::uint64_t> sets_of(Cluster& cluster) {
    std::vector<std::uint64_t> sets;
    for (RedisServer& node : cluster) sets.push_back(node.command_stat("set"));
    return sets;
}

TEST(WaitingSplit, after_a_split_vote_one_node_is_asked_first_and_its_no_is_enough) {
    Cluster cluster{4};
    Options options = polling();
    options.retry.max_attempts = 6;
    auto locks = connect_to(cluster, options);
    warm_up(locks);
    std::size_t led = 0;
    for (int i = 0; i < 20; ++i) {  // by the hash of the name, a node that denies leads half of them
        const std::string name = "name " + std::to_string(i);
        for (std::size_t n = 0; n < 2; ++n) cluster[n].query({"SET", name, "theirs"});
        const auto before = sets_of(cluster);
        ASSERT_FALSE(got(locks.lock(name, {.ttl = 1h, .wait = 60s})));
        auto sent = sets_of(cluster);
        for (std::size_t n = 0; n < 4; ++n) sent[n] -= before[n];
        const auto most = *std::max_element(sent.begin(), sent.end());
        const auto least = *std::min_element(sent.begin(), sent.end());
        EXPECT_EQ(most, 6U) << "attempts";
        if (least < most) ++led;
    }
    EXPECT_GT(led, 0U);
}

TEST(WaitingSplit, contenders_at_different_distances_all_get_their_turns) {
    constexpr std::size_t count = 4;
    Cluster cluster{count};
    // Each contender is nearest to a different node.
    std::vector<std::unique_ptr<DelayProxy>> distances;
    for (std::size_t i = 0; i < 2; ++i) {
        distances.push_back(std::make_unique<DelayProxy>(cluster.uris(), (i + 1) * 200us));
    }
    for (const bool notify : {false, true}) {
        std::vector<std::thread> threads;
        Section section;
        std::atomic<std::size_t> failures{0};
        for (std::size_t i = 0; i < count; ++i) {
            threads.emplace_back([&, i] {
                Options options = polling();
                options.notify = notify;
                auto uris = distances[0]->uris();
                uris[i] = cluster.uris()[i];
                uris[(i + 1) % count] = distances[1]->uris()[(i + 1) % count];
                Redlock locks{uris, options};
                for (int n = 0; n < 10; ++n) {
                    auto lock = locks.lock("name", {.ttl = 1h, .wait = 60s});
                    if (lock) section.pass();
                    if (!lock || !lock->unlock()) ++failures;
                }
            });
        }
        for (auto& thread : threads) thread.join();
        EXPECT_EQ(failures, 0U);
        EXPECT_EQ(section.count(), count * 10);
        EXPECT_EQ(section.overlaps(), 0U);
        EXPECT_TRUE(is_clean(cluster));
    }
}

TEST(WaitingSplit, a_first_node_that_hangs_or_is_dead_falls_to_the_next) {
    Cluster cluster{5};
    Options options = polling();
    options.node_timeout = 150ms;
    auto locks = connect_to(cluster, options);
    warm_up(locks);
    cluster[2].pause();
    for (const bool is_dead : {false, true}) {
        if (is_dead) cluster[2].kill();
        for (int i = 0; i < 4; ++i) {
            const std::string name = "name " + std::to_string(i);
            for (std::size_t n = 0; n < 2; ++n) cluster[n].query({"SET", name, "theirs", "PX", "400"});
            auto lock = locks.lock(name, {.ttl = 1h, .wait = 60s});
            ASSERT_TRUE(lock) << lock.error().message();
            EXPECT_TRUE(lock->unlock());
        }
    }
}

}  // namespace
}  // namespace redlock::test

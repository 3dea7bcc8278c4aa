// SPDX-License-Identifier: Apache-2.0
// Shared by the integration tests: options for a busy machine, and a guard that detects two holders.
#pragma once

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <cstddef>
#include <string>
#include <thread>
#include <vector>

#include "redlock/redlock.hpp"
#include "support/cluster.hpp"
#include "support/eventually.hpp"
#include "support/got.hpp"

namespace redlock::test {

using namespace std::chrono_literals;

// Time enough for every node to answer, however busy the machine is.
[[nodiscard]] inline Options patient() {
    Options options;
    options.node_timeout = 5s;
    options.reconnect_max = 50ms;
    options.retry = {.base = 2ms, .cap = 50ms};
    return options;
}

// For tests in which a quorum does not answer, and the time that this takes is spent.
[[nodiscard]] inline Options brisk() {
    Options options = patient();
    options.node_timeout = 300ms;
    return options;
}

[[nodiscard]] inline Redlock connect_to(const Cluster& cluster, const Options& options = patient()) {
    return Redlock{cluster.uris(), options};
}

// Takes a lock and gives it back, so that all connections are made and every node has answered.
inline void warm_up(Redlock& locks) {
    const auto lock = locks.lock("warm-up", {.ttl = 60s, .wait = 30s});
    ASSERT_TRUE(lock) << lock.error().message();
    const bool all_answered = eventually(patience, [&] {
        for (const NodeReport& node : lock->nodes()) {
            if (node.vote == Vote::pending) return false;
        }
        return true;
    });
    ASSERT_TRUE(all_answered);
}

[[nodiscard]] inline std::vector<Vote> votes_of(const std::vector<NodeReport>& nodes) {
    std::vector<Vote> votes;
    for (const NodeReport& node : nodes) votes.push_back(node.vote);
    return votes;
}

// Whether no node that can be asked has a key of any lock.
[[nodiscard]] inline bool is_clean(Cluster& cluster) {
    return eventually(patience, [&] { return cluster.keys_left().empty(); });
}

// The resource that a lock protects: a plain counter, which shows data races and lost updates.
class Section {
   public:
    void pass() {
        if (is_busy_.exchange(true)) overlaps_++;
        ++count_;
        std::this_thread::yield();
        is_busy_ = false;
    }
    [[nodiscard]] std::size_t count() const { return count_; }
    [[nodiscard]] std::size_t overlaps() const { return overlaps_; }

   private:
    std::size_t count_ = 0;
    std::atomic<bool> is_busy_{false};
    std::atomic<std::size_t> overlaps_{0};
};

}  // namespace redlock::test

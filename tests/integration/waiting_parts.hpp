// SPDX-License-Identifier: Apache-2.0
// Shared by the tests of waiting: waiters in threads of their own, and access to the queues on the nodes.
#pragma once

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <future>
#include <string>
#include <utility>
#include <vector>

#include "integration/fixture.hpp"
#include "redlock/voting/command.hpp"

namespace redlock::test {

// A waiter in the nodes' queues tries again when the holder's ttl is over, and not before: with a ttl of an
// hour, only a notice explains that it gets the lock.
[[nodiscard]] inline Options notified_only() {
    Options options = patient();
    options.retry.cap = 1h;
    options.retry.decide = [](std::uint32_t, const Failure&) { return 1h; };
    return options;
}

// Waiters try again after a second at the latest, which is the shortest backstop.
[[nodiscard]] inline Options soon_again() {
    Options options = patient();
    options.retry = {.base = 10ms, .cap = 20ms};
    return options;
}

inline const LockOptions for_long{.ttl = 1h, .wait = 60s};

// lock() in a thread of its own.
template <class Locks>
[[nodiscard]] auto wait_in_thread(Locks& locks, Resources resources, LockOptions how = for_long) {
    return std::async(std::launch::async, [&locks, resources = std::move(resources), how = std::move(how)] {
        return locks.lock(resources, how);
    });
}

// Whether it ends before the last attempt that lock() makes at the end of its wait.
template <class Future>
[[nodiscard]] bool is_soon_over(const Future& waiting) {
    return waiting.wait_for(patience) == std::future_status::ready;
}

// The number of waiters in the queue of a resource on each node.
[[nodiscard]] inline std::vector<long long> queue_lengths(Cluster& cluster, const std::string& name) {
    std::vector<long long> lengths;
    for (RedisServer& node : cluster) {
        if (node.reachable())
            lengths.push_back(node.query({"ZCARD", redlock::detail::queue_key(name)}).number());
    }
    return lengths;
}

// Waits until that many waiters are in the queues of a quorum of the nodes, since the other nodes may not
// have been held. Where `count` is 0, waits until the queues of all nodes are empty.
[[nodiscard]] inline bool are_queued(Cluster& cluster, const std::string& name, long long count) {
    const auto enough = static_cast<std::ptrdiff_t>(count == 0 ? cluster.size() : cluster.size() / 2 + 1);
    return eventually(patience, [&] {
        const auto lengths = queue_lengths(cluster, name);
        return std::count(lengths.begin(), lengths.end(), count) >= enough;
    });
}

// Whether the server has rights for channels, as since Redis 6.2.
[[nodiscard]] inline bool knows_channel_rights() {
    RedisServer server;
    return !server.query({"ACL", "SETUSER", "somebody", "resetchannels"}).is_error();
}

// Locks as a client of another library: it does not use the queues and notifies no waiter.
inline void occupy(Cluster& cluster, const std::string& name, std::chrono::milliseconds ttl) {
    for (RedisServer& node : cluster) {
        ASSERT_EQ(node.query({"SET", name, "theirs", "NX", "PX", std::to_string(ttl.count())}).text, "OK");
    }
}

inline void vacate(Cluster& cluster, const std::string& name) {
    for (RedisServer& node : cluster) node.query({"DEL", name});
}

}  // namespace redlock::test

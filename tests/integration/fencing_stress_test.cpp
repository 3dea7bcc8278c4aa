// SPDX-License-Identifier: Apache-2.0
// The worst effect that clocks can have on a lock: a hostile client deletes the keys of live locks on random
// nodes, so that there are many holders at a time. The tokens must grow all the same. Those of a naive
// algorithm, run in the same conditions, do not.
#include <gtest/gtest.h>
#include <hiredis/hiredis.h>

#include <array>
#include <atomic>
#include <cstdint>
#include <iostream>
#include <memory>
#include <mutex>
#include <optional>
#include <random>
#include <shared_mutex>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "integration/fencing_parts.hpp"
#include "support/cluster.hpp"
#include "support/eventually.hpp"
#include "support/seed.hpp"

namespace redlock::test {
namespace {

constexpr std::size_t client_count = 4;
const std::string contended = "name";

enum class Hostility { deletes_locks, deletes_locks_and_counters };

/// The acquisitions of all clients.
class History {
   public:
    /// The next position in the order of all events.
    std::uint64_t now() noexcept { return sequence_.fetch_add(1); }
    void add(const Acquisition& one) {
        const std::lock_guard lock{mutex_};
        all_.push_back(one);
        count_.store(all_.size());
    }
    [[nodiscard]] std::size_t size() const noexcept { return count_.load(); }
    [[nodiscard]] const std::vector<Acquisition>& all() const noexcept { return all_; }

   private:
    std::atomic<std::uint64_t> sequence_{1};
    std::atomic<std::size_t> count_{0};
    std::mutex mutex_;
    std::vector<Acquisition> all_;
};

/// Keeps attempts from running while a counter is deleted. The promise about lost counters holds only if no
/// attempt is running then (docs/fencing.md), since only the clients' clocks order it before later attempts.
class Attempts {
   public:
    [[nodiscard]] std::shared_lock<std::shared_mutex> begin() {
        const std::lock_guard behind_who_stops_them{turn_};
        return std::shared_lock{under_way_};
    }
    [[nodiscard]] std::unique_lock<std::shared_mutex> stop() {
        const std::lock_guard before_those_who_begin{turn_};
        return std::unique_lock{under_way_};
    }

   private:
    std::mutex turn_;  // with a shared_mutex alone, new readers could keep stop() waiting for ever
    std::shared_mutex under_way_;
};

/// Deletes keys of a lock that its holder still believes in. Returns the number of counters that it deleted.
std::uint64_t be_hostile(Cluster& nodes, Hostility hostility, Attempts& attempts,
                         const std::stop_token& stop) {
    std::minstd_rand random{told_seed("hostility")};
    std::uint64_t deleted = 0;
    while (!stop.stop_requested()) {
        RedisServer& node = nodes[random() % nodes.size()];
        node.query({"DEL", contended});
        if (hostility == Hostility::deletes_locks_and_counters && random() % 4 == 0) {
            const auto no_attempt = attempts.stop();
            deleted += node.query({"DEL", core::fence_key(contended)}).number() == 1 ? 1U : 0U;
        }
    }
    return deleted;
}

/// Runs a client of the library. Returns the number of its acquisitions that took one round trip.
std::uint64_t acquire_all_the_time(Cluster& nodes, History& history, Attempts& attempts,
                                   const std::stop_token& stop) {
    Watched client{nodes.uris()};
    std::uint64_t in_one_trip = 0;
    while (!stop.stop_requested()) {
        const auto attempt = attempts.begin();
        const std::uint64_t commits = client.sent->commits;
        const std::uint64_t began = history.now();
        auto lock = client.locks.try_lock(contended, 5s);
        if (!lock) continue;
        history.add({began, history.now(), lock->fencing_token()});
        in_one_trip += client.sent->commits == commits ? 1 : 0;
    }
    return in_one_trip;
}

/// The naive algorithm: a counter on each node, and the largest answer is the token.
class NaiveClient {
   public:
    explicit NaiveClient(Cluster& nodes) {
        for (auto& node : nodes) connections_.emplace_back(redisConnectUnix(node.socket_path().c_str()));
    }

    std::optional<std::uint64_t> try_lock() {
        token_ = std::to_string(random_());
        constexpr const char* script =
            "if redis.call('EXISTS', KEYS[1]) == 1 then return 0 end "
            "redis.call('SET', KEYS[1], ARGV[1], 'PX', 5000) return redis.call('INCR', KEYS[2])";
        std::size_t granted = 0;
        std::uint64_t largest = 0;
        for (const std::uint64_t answer : ask_all(script)) {
            granted += answer != 0 ? 1 : 0;
            largest = std::max(largest, answer);
        }
        if (granted > connections_.size() / 2) return largest;
        unlock();
        return std::nullopt;
    }
    void unlock() {
        ask_all("return redis.call('GET', KEYS[1]) == ARGV[1] and redis.call('DEL', KEYS[1]) or 0");
    }

   private:
    /// Sends the script to all nodes at once, and waits for every answer.
    std::vector<std::uint64_t> ask_all(const char* script) {
        for (const auto& connection : connections_) {
            redisAppendCommand(connection.get(), "EVAL %s 2 %s naive:counter %s", script, contended.c_str(),
                               token_.c_str());
            for (int done = 0; done == 0;) redisBufferWrite(connection.get(), &done);
        }
        std::vector<std::uint64_t> answers;
        for (const auto& connection : connections_) {
            void* reply = nullptr;
            if (redisGetReply(connection.get(), &reply) != REDIS_OK) throw std::runtime_error{"no reply"};
            answers.push_back(static_cast<std::uint64_t>(static_cast<redisReply*>(reply)->integer));
            freeReplyObject(reply);
        }
        return answers;
    }

    std::mt19937_64 random_{std::random_device{}()};
    std::string token_;
    std::vector<std::unique_ptr<redisContext, CloseContext>> connections_;
};

std::uint64_t acquire_naively(Cluster& nodes, History& history, Attempts& /*unused*/,
                              const std::stop_token& stop) {
    NaiveClient client{nodes};
    while (!stop.stop_requested()) {
        const std::uint64_t began = history.now();
        const auto token = client.try_lock();
        if (!token) continue;
        history.add({began, history.now(), *token});
        client.unlock();
    }
    return 0;
}

using Client = std::uint64_t (*)(Cluster&, History&, Attempts&, const std::stop_token&);

/// Runs the clients and the hostile client, for some seconds or until there are enough acquisitions.
Judgement run(Client client, Hostility hostility, std::string_view name) {
    Cluster nodes{3};
    teach(nodes);
    History history;
    Attempts attempts;
    std::atomic<std::uint64_t> in_one_trip{0};
    std::atomic<std::uint64_t> counters_deleted{0};
    {
        std::vector<std::jthread> threads;
        for (std::size_t i = 0; i < client_count; ++i) {
            threads.emplace_back(
                [&](const std::stop_token& stop) { in_one_trip += client(nodes, history, attempts, stop); });
        }
        threads.emplace_back([&](const std::stop_token& stop) {
            counters_deleted += be_hostile(nodes, hostility, attempts, stop);
        });
        const std::size_t enough = is_long() ? 50'000 : 1'000;
        const auto began = std::chrono::steady_clock::now();
        const auto shortest = is_long() ? 0s : 2s;
        EXPECT_TRUE(eventually(10min, [&] {
            return history.size() >= enough && std::chrono::steady_clock::now() - began >= shortest;
        }));
        for (std::jthread& thread : threads) thread.request_stop();
    }
    EXPECT_EQ(counters_deleted > 0, hostility == Hostility::deletes_locks_and_counters);
    const Judgement judgement = judge(history.all());
    std::cout << name << ": " << judgement.acquisitions << " acquisitions, " << judgement.duplicates
              << " duplicate tokens, " << judgement.order_errors << " out of order";
    if (client == acquire_all_the_time) {
        std::cout << "; in one round trip "
                  << 100.0 * static_cast<double>(in_one_trip) / static_cast<double>(judgement.acquisitions)
                  << " %; " << counters_deleted << " counters deleted";
    }
    std::cout << std::endl;
    return judgement;
}

void expect_order_whatever_is_deleted() {
    const Judgement judgement = run(acquire_all_the_time, Hostility::deletes_locks, "locks deleted");
    EXPECT_EQ(judgement.duplicates, 0U);
    EXPECT_EQ(judgement.order_errors, 0U);
}

void expect_order_though_counters_are_forgotten() {
    const Judgement judgement =
        run(acquire_all_the_time, Hostility::deletes_locks_and_counters, "counters deleted too");
    EXPECT_EQ(judgement.duplicates, 0U);
    EXPECT_EQ(judgement.order_errors, 0U);
}

/// If the naive algorithm succeeded, the conditions would be too mild to show anything.
void expect_the_naive_way_to_fail() {
    const Judgement judgement = run(acquire_naively, Hostility::deletes_locks, "naive, locks deleted");
    EXPECT_GT(judgement.duplicates, 0U);
    EXPECT_GT(judgement.order_errors, 0U);
}

TEST(FencingStress, tokens_are_unique_and_ordered_while_live_locks_are_deleted) {
    expect_order_whatever_is_deleted();
}
TEST(FencingStress, tokens_are_unique_and_ordered_while_counters_are_deleted_as_well) {
    expect_order_though_counters_are_forgotten();
}
TEST(FencingStress, the_naive_way_fails_in_the_same_conditions) { expect_the_naive_way_to_fail(); }

TEST(FencingStressLong, tokens_are_unique_and_ordered_while_live_locks_are_deleted) {
    expect_order_whatever_is_deleted();
}
TEST(FencingStressLong, tokens_are_unique_and_ordered_while_counters_are_deleted_as_well) {
    expect_order_though_counters_are_forgotten();
}
TEST(FencingStressLong, the_naive_way_fails_in_the_same_conditions) { expect_the_naive_way_to_fail(); }

}  // namespace
}  // namespace redlock::test

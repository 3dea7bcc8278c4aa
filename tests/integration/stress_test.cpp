// SPDX-License-Identifier: Apache-2.0
// A minute of everything at once: many threads, while nodes are killed, stopped and restarted.
#include <array>
#include <cstdlib>
#include <future>
#include <random>

#include "integration/fixture.hpp"
#include "support/seed.hpp"

namespace redlock::test {
namespace {

constexpr std::size_t node_count = 5;
constexpr std::size_t resource_count = 32;
constexpr std::size_t thread_count = 64;

// The state that one resource protects: plain numbers, which only mutual exclusion keeps consistent.
struct Resource {
    Section section;
    std::uint64_t last_fence = 0;
    std::size_t disorders = 0;
};

// At most two nodes are dead or stopped at a time. They persist every write, so a restart loses nothing.
class Chaos {
   public:
    Chaos(Cluster& cluster, unsigned seed) : cluster_{cluster}, random_{seed} {}

    void strike() {
        const std::size_t node = random_() % node_count;
        if (is_well_[node] && sick_count() == 2) return;
        if (!is_well_[node]) {
            if (cluster_[node].running()) {
                cluster_[node].resume();
            } else {
                cluster_[node].restart(Data::keep);
            }
        } else if (random_() % 3 == 0) {
            cluster_[node].kill();
        } else if (random_() % 2 == 0) {
            cluster_[node].pause();
        } else {
            cluster_[node].restart(Data::keep);
            return;
        }
        is_well_[node] = !is_well_[node];
        ++strikes_;
    }
    [[nodiscard]] std::size_t strikes() const { return strikes_; }

   private:
    [[nodiscard]] std::size_t sick_count() const {
        std::size_t count = 0;
        for (const bool is_well : is_well_) count += is_well ? 0 : 1;
        return count;
    }

    Cluster& cluster_;
    std::mt19937 random_;
    std::array<bool, node_count> is_well_{true, true, true, true, true};
    std::size_t strikes_ = 0;
};

class StressLong : public ::testing::Test {
   protected:
    static constexpr std::chrono::seconds ttl{10};

    void SetUp() override {
        const char* wanted = std::getenv("REDLOCK_LONG");
        if (wanted == nullptr || std::string{wanted} != "1") GTEST_SKIP() << "set REDLOCK_LONG=1";
    }

    // Until `end`: locks a random resource, changes the state that it protects, and unlocks.
    void work(Redlock& locks, unsigned seed, std::chrono::steady_clock::time_point end) {
        std::mt19937 random{seed};
        while (std::chrono::steady_clock::now() < end) {
            const std::size_t i = random() % resource_count;
            auto lock = locks.lock("resource " + std::to_string(i), {.ttl = ttl, .wait = 5s});
            if (!lock) {
                ++failures_;
                continue;
            }
            Resource& resource = resources_[i];
            resource.section.pass();
            if (lock->fencing_token() <= resource.last_fence) ++resource.disorders;
            resource.last_fence = lock->fencing_token();
            if (random() % 8 == 0) static_cast<void>(lock->extend(ttl));
            static_cast<void>(lock->unlock());
            ++cycles_;
        }
    }

    std::array<Resource, resource_count> resources_;
    std::atomic<std::size_t> cycles_{0};
    std::atomic<std::size_t> failures_{0};
};

TEST_F(StressLong, no_two_holders_nobody_stuck_and_no_key_left) {
    Cluster cluster{node_count, {.append_only = true}};
    Options options;
    options.node_timeout = 500ms;
    options.reconnect_max = 100ms;
    std::vector<Redlock> clients;
    for (int i = 0; i < 4; ++i) clients.push_back(connect_to(cluster, options));
    const unsigned seed = told_seed("stress");
    SCOPED_TRACE("seed " + std::to_string(seed));
    const auto end = std::chrono::steady_clock::now() + 60s;
    std::vector<std::future<void>> workers;
    for (std::size_t i = 0; i < thread_count; ++i) {
        workers.push_back(std::async(std::launch::async, [&, i] {
            work(clients[i % clients.size()], seed + static_cast<unsigned>(i), end);
        }));
    }
    Chaos chaos{cluster, seed};
    std::mt19937 random{seed};
    while (std::chrono::steady_clock::now() < end) {
        chaos.strike();
        const auto pause = std::chrono::milliseconds{random() % 300};
        static_cast<void>(workers.front().wait_for(pause));  // a worker that ends early ends the pause
    }
    for (auto& worker : workers) {
        if (worker.wait_for(60s) == std::future_status::timeout) {
            std::fprintf(stderr, "a caller is stuck; seed %u\n", seed);
            std::abort();  // the stuck thread cannot be joined
        }
    }
    cluster.heal();
    std::size_t passes = 0;
    for (const Resource& resource : resources_) {
        EXPECT_EQ(resource.section.overlaps(), 0U);
        EXPECT_EQ(resource.disorders, 0U) << "fencing tokens out of order";
        passes += resource.section.count();
    }
    EXPECT_EQ(passes, cycles_);
    EXPECT_GT(cycles_, 1000U);
    EXPECT_GT(chaos.strikes(), 50U);
    clients.clear();
    EXPECT_TRUE(eventually(ttl + patience, [&] { return cluster.keys_left().empty(); }));
    RecordProperty("cycles", static_cast<int>(cycles_));
    RecordProperty("failures", static_cast<int>(failures_));
}

}  // namespace
}  // namespace redlock::test

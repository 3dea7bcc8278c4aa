// SPDX-License-Identifier: Apache-2.0
// Many threads, on one Redlock and on several: never two holders at once, and no thread waits for ever.
#include <signal.h>

#include <algorithm>
#include <atomic>
#include <filesystem>
#include <fstream>
#include <future>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>

#include "integration/fixture.hpp"

namespace redlock::test {
namespace {

void run_threads(std::size_t count, const std::function<void(std::size_t)>& body) {
    std::vector<std::thread> threads;
    threads.reserve(count);
    for (std::size_t i = 0; i < count; ++i) threads.emplace_back(body, i);
    for (std::thread& thread : threads) thread.join();
}

TEST(Threads, a_thousand_contended_cycles_leave_no_key_and_no_two_holders) {
    Cluster cluster{3};
    Options options = patient();
    options.retry = {.base = 1ms, .cap = 10ms};
    std::vector<Redlock> clients;
    for (int i = 0; i < 3; ++i) clients.push_back(connect_to(cluster, options));
    constexpr std::size_t threads = 6;
    constexpr std::size_t cycles = 168;
    Section section;
    std::atomic<std::size_t> failures{0};
    run_threads(threads, [&](std::size_t i) {
        for (std::size_t n = 0; n < cycles; ++n) {
            auto lock = clients[i % clients.size()].lock("name", {.ttl = 60s, .wait = 60s});
            if (lock) section.pass();
            if (!lock || !lock->unlock()) ++failures;
        }
    });
    EXPECT_EQ(section.overlaps(), 0U);
    EXPECT_EQ(section.count(), threads * cycles);
    EXPECT_EQ(failures, 0U);
    EXPECT_TRUE(is_clean(cluster));
}

TEST(Threads, sixty_four_on_one_redlock_with_a_resource_each_all_succeed_at_the_first_attempt) {
    Cluster cluster{5};
    auto locks = connect_to(cluster);
    std::atomic<std::size_t> failures{0};
    run_threads(64, [&](std::size_t i) {
        const std::string name = "resource " + std::to_string(i);
        for (int n = 0; n < 10; ++n) {
            auto lock = locks.try_lock(name, 60s);
            if (!lock || !lock->extend(60s) || !lock->unlock()) ++failures;
        }
    });
    EXPECT_EQ(failures, 0U);
    EXPECT_TRUE(is_clean(cluster));
}

TEST(Threads, sixty_four_on_one_redlock_with_the_same_resource_never_hold_it_together) {
    Cluster cluster{5};
    auto locks = connect_to(cluster);
    Section section;
    std::atomic<std::size_t> failures{0};
    std::vector<std::uint64_t> tokens;  // guarded by the lock itself
    run_threads(64, [&](std::size_t) {
        for (int n = 0; n < 3; ++n) {
            auto lock = locks.lock("name", {.ttl = 60s, .wait = 100s});
            if (lock) {
                section.pass();
                tokens.push_back(lock->fencing_token());
            }
            if (!lock || !lock->unlock()) ++failures;
        }
    });
    EXPECT_EQ(section.overlaps(), 0U);
    EXPECT_EQ(section.count(), 64U * 3U);
    EXPECT_EQ(failures, 0U);
    EXPECT_TRUE(std::is_sorted(tokens.begin(), tokens.end(), std::less_equal<>{}))
        << "fencing tokens strictly increase in the order of the holders";
    EXPECT_TRUE(is_clean(cluster));
}

TEST(Threads, a_stop_ends_a_waiting_lock_at_once) {
    Cluster cluster{3};
    Options options = patient();
    options.retry = {.base = 1h, .cap = 1h, .multiplier = 1};
    auto locks = connect_to(cluster, options);
    const auto held = locks.try_lock("name", 60s);
    ASSERT_TRUE(held);
    constexpr std::size_t waiters = 8;
    std::stop_source source;
    std::vector<std::future<errc>> outcomes;
    for (std::size_t i = 0; i < waiters; ++i) {
        outcomes.push_back(std::async(std::launch::async, [&] {
            const auto lock = locks.lock("name", {.ttl = 60s, .wait = forever, .stop = source.get_token()});
            return lock ? errc::unknown : lock.error().code();
        }));
    }
    EXPECT_FALSE(got(locks.try_lock("name", 60s))) << "so that some of them are surely waiting by now";
    EXPECT_EQ(outcomes[0].wait_for(0s), std::future_status::timeout);
    const auto before = std::chrono::steady_clock::now();
    source.request_stop();
    for (auto& outcome : outcomes) EXPECT_EQ(outcome.get(), errc::cancelled);
    EXPECT_LT(std::chrono::steady_clock::now() - before, 5s);
    EXPECT_TRUE(held->owns_lock());
}

TEST(Threads, a_redlock_may_go_before_its_locks_and_they_work_on) {
    Cluster cluster{3};
    std::optional<Redlock> locks = connect_to(cluster);
    std::vector<Lock> held;
    for (const char* name : {"a", "b", "c"}) held.push_back(locks->try_lock(name, 60s).value());
    locks.reset();
    run_threads(held.size(), [&](std::size_t i) {
        EXPECT_TRUE(held[i].owns_lock());
        EXPECT_TRUE(held[i].extend(60s));
        if (i == 0) {
            EXPECT_TRUE(held[i].unlock());
        }
    });
    held.clear();
    EXPECT_TRUE(is_clean(cluster));
}

// Several threads may extend, read and unlock one lock at once.
TEST(Threads, one_lock_used_by_several_threads_at_once) {
    Cluster cluster{3};
    auto locks = connect_to(cluster);
    for (int n = 0; n < 10; ++n) {
        auto lock = locks.try_lock("name", 60s);
        ASSERT_TRUE(lock) << lock.error().message();
        const auto lost = lock->lost();
        std::atomic<int> unlocked{0};
        run_threads(6, [&](std::size_t i) {
            if (i % 3 == 0) static_cast<void>(lock->extend(60s));
            if (i % 3 == 1) static_cast<void>(lock->nodes().size() + (lock->owns_lock() ? 1U : 0U));
            if (i % 3 == 2 && lock->unlock()) ++unlocked;
        });
        EXPECT_EQ(unlocked, 1) << "only one of them unlocks it";
        EXPECT_FALSE(lost.stop_requested());
    }
    EXPECT_TRUE(is_clean(cluster));
}

// The threads of this process, and the signals that each blocks: bit n - 1 for signal n.
[[nodiscard]] std::map<std::string, unsigned long long> blocked_by_thread() {
    std::map<std::string, unsigned long long> threads;
    for (const auto& entry : std::filesystem::directory_iterator{"/proc/self/task"}) {
        std::ifstream status{entry.path() / "status"};
        for (std::string line; std::getline(status, line);) {
            if (!line.starts_with("SigBlk:")) continue;
            threads[entry.path().filename()] = std::stoull(line.substr(7), nullptr, 16);
        }
    }
    return threads;
}

// A signal handler of the application runs on one of its own threads, and may rely on that.
TEST(Threads, those_of_the_library_take_no_signal_of_the_process) {
    Cluster cluster{3};  // the cluster may start threads too, so it comes before the count
    const auto before = blocked_by_thread();
    auto locks = connect_to(cluster);
    const auto renewed = locks.lock("name", {.ttl = 60s, .renew = true});
    ASSERT_TRUE(renewed);
    // A thread that has not begun blocks everything; so does one of a sanitizer, for good.
    ASSERT_TRUE(eventually(patience, [&before] {
        return std::ranges::none_of(blocked_by_thread(), [&before](const auto& thread) {
            return !before.contains(thread.first) && (thread.second & (1ULL << (SIGSEGV - 1))) != 0;
        });
    })) << "a fault of its own reaches the thread";
    std::size_t ours = 0;
    for (const auto& [thread, blocked] : blocked_by_thread()) {
        if (before.contains(thread)) continue;
        ++ours;
        for (const int number : {SIGHUP, SIGINT, SIGTERM, SIGUSR1, SIGUSR2, SIGALRM, SIGPROF, SIGCHLD}) {
            EXPECT_NE(blocked & (1ULL << (number - 1)), 0U) << number;
        }
    }
    EXPECT_EQ(ours, 1U) << "the one that renews";
}

}  // namespace
}  // namespace redlock::test

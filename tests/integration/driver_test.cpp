// SPDX-License-Identifier: Apache-2.0
// A waiting thread drives, and the scheduler or a debugger may stop it meanwhile. Here a signal handler
// stops it, wherever it is.
#include <gtest/gtest.h>
#include <pthread.h>
#include <signal.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <fstream>
#include <optional>
#include <string>
#include <thread>

#include "integration/waiting_parts.hpp"

namespace redlock::test {
namespace {

/// Stops threads of this process.
class Stall {
   public:
    Stall() {
        EXPECT_EQ(::pipe(pipe_.data()), 0);
        descriptor_ = pipe_[0];
        struct sigaction action {};
        action.sa_handler = [](int) {
            ++stalled_;
            char byte = 0;
            [[maybe_unused]] const auto size = ::read(descriptor_, &byte, 1);  // blocks until end()
            --stalled_;
        };
        EXPECT_EQ(::sigaction(SIGUSR1, &action, &before_), 0);
    }
    Stall(const Stall&) = delete;
    Stall& operator=(const Stall&) = delete;
    ~Stall() {
        end();
        ::close(pipe_[0]);
        ::sigaction(SIGUSR1, &before_, nullptr);
    }

    /// Stops the thread once it sleeps. Another thread cannot take over from a driver that is stopped while
    /// it processes replies.
    void begin(std::thread& thread, pid_t id) {
        EXPECT_TRUE(eventually(patience, [id] { return sleeps_for_long(id); }));
        const int before = stalled_;
        EXPECT_EQ(::pthread_kill(thread.native_handle(), SIGUSR1), 0);
        EXPECT_TRUE(eventually(patience, [&] { return stalled_ == before + 1; }));
    }
    void end() {
        if (pipe_[1] >= 0) ::close(std::exchange(pipe_[1], -1));
        EXPECT_TRUE(eventually(patience, [] { return stalled_ == 0; }));
    }

   private:
    /// Whether the thread stays asleep for many checks in a row, without waking between them.
    [[nodiscard]] static bool sleeps_for_long(pid_t id) {
        const std::string before = sleep_of(id);
        for (int look = 0; look < 20; ++look) {
            std::this_thread::sleep_for(1ms);
            if (before.empty() || sleep_of(id) != before) return false;
        }
        return true;
    }

    /// A text that differs each time the thread falls asleep; empty while it is awake.
    [[nodiscard]] static std::string sleep_of(pid_t id) {
        std::ifstream status{"/proc/self/task/" + std::to_string(id) + "/status"};
        bool is_asleep = false;
        for (std::string line; std::getline(status, line);) {
            if (line.starts_with("State:\tS")) is_asleep = true;
            if (line.starts_with("voluntary_ctxt_switches:")) return is_asleep ? line : "";
        }
        return {};
    }

    static constexpr auto patience = 20s;
    static inline std::atomic<int> stalled_{0};
    static inline std::atomic<int> descriptor_{-1};
    std::array<int, 2> pipe_{-1, -1};
    struct sigaction before_ {};
};

/// Waits for a lock that another client holds, until it is released.
class WaitingThread {
   public:
    WaitingThread(Redlock& locks, Cluster& cluster, const std::string& name) {
        thread_ = std::thread{[&locks, name, this] {
            id_ = ::gettid();
            result_.emplace(locks.lock(name, {.ttl = 1h, .wait = forever}));
            is_done_ = true;
        }};
        EXPECT_TRUE(are_queued(cluster, name, 1));
    }
    ~WaitingThread() { thread_.join(); }
    void stall(Stall& stall) { stall.begin(thread_, id_); }
    [[nodiscard]] bool is_done() const { return is_done_; }

   private:
    std::optional<Result<Lock>> result_;
    std::atomic<bool> is_done_{false};
    std::atomic<pid_t> id_{0};
    std::thread thread_;
};

struct Driven {
    Driven() {
        Options options = notified_only();
        options.node_timeout = 2s;
        locks.emplace(connect_to(cluster, options));
        holding.emplace(connect_to(cluster, notified_only()));
        EXPECT_TRUE(got(locks->try_lock("warm-up", 5s)));
    }
    Cluster cluster{3};
    std::optional<Redlock> locks;
    std::optional<Redlock> holding;
    Stall stall;
};

// Once try_lock() took 3 s with a node_timeout of 50 ms.
TEST(Driver, who_does_not_come_back_from_its_wait_keeps_nobody_from_the_nodes) {
    Driven it;
    auto held = it.holding->try_lock("name", 1h).value();
    {
        WaitingThread driver{*it.locks, it.cluster, "name"};
        driver.stall(it.stall);
        for (int i = 0; i < 3; ++i) {
            auto lock = it.locks->try_lock("other", 5s);
            ASSERT_TRUE(lock) << i << ": " << lock.error().message();
            EXPECT_TRUE(lock->extend(5s));
            EXPECT_TRUE(lock->unlock());
        }
        EXPECT_FALSE(got(it.locks->lock("name", {.ttl = 5s, .wait = 100ms})));
        it.stall.end();
        EXPECT_TRUE(held.unlock());
    }
    EXPECT_TRUE(is_clean(it.cluster));
}

// While a driver is stopped, other threads wait for their answers, and they drive one after the other.
TEST(Driver, several_that_do_not_come_back_are_passed_over) {
    Driven it;
    auto first = it.holding->try_lock("first", 1h).value();
    auto second = it.holding->try_lock("second", 1h).value();
    auto third = it.holding->try_lock("third", 1h).value();
    {
        WaitingThread one{*it.locks, it.cluster, "first"};
        WaitingThread two{*it.locks, it.cluster, "second"};
        one.stall(it.stall);
        ASSERT_TRUE(got(it.locks->try_lock("other", 5s)));
        WaitingThread three{*it.locks, it.cluster, "third"};
        two.stall(it.stall);
        ASSERT_TRUE(got(it.locks->try_lock("other", 5s)));
        three.stall(it.stall);
        ASSERT_TRUE(got(it.locks->try_lock("other", 5s)));
        it.stall.end();
        EXPECT_TRUE(second.unlock());
        EXPECT_TRUE(eventually(20s, [&] { return two.is_done(); }));
        EXPECT_TRUE(third.unlock());
        EXPECT_TRUE(first.unlock());
    }
    EXPECT_TRUE(is_clean(it.cluster));
}

// The previous driver named it as the next one, and it does not begin.
TEST(Driver, the_next_driver_keeps_nobody_from_the_nodes_when_it_does_not_begin) {
    Driven it;
    auto first = it.holding->try_lock("first", 1h).value();
    auto second = it.holding->try_lock("second", 1h).value();
    {
        WaitingThread driver{*it.locks, it.cluster, "first"};
        WaitingThread next{*it.locks, it.cluster, "second"};
        next.stall(it.stall);
        ASSERT_TRUE(first.unlock());
        ASSERT_TRUE(eventually(20s, [&] { return driver.is_done(); }));
        ASSERT_TRUE(got(it.locks->try_lock("other", 5s)));
        ASSERT_TRUE(got(it.locks->try_lock("other", 5s)));
        it.stall.end();
        EXPECT_TRUE(second.unlock());
    }
    EXPECT_TRUE(is_clean(it.cluster));
}

}  // namespace
}  // namespace redlock::test

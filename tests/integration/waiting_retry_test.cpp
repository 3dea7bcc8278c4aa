// SPDX-License-Identifier: Apache-2.0
// When waiters try again, for how long, and what the failure reports when the wait ends.
#include <gtest/gtest.h>

#include <cmath>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <thread>

#include "integration/waiting_parts.hpp"
#include "redlock/custom.hpp"
#include "redlock/hiredis/transport.hpp"
#include "support/child_process.hpp"

namespace redlock::test {
namespace {

constexpr const char* task_variable = "REDLOCK_TEST_WAITING";
constexpr std::size_t attempts_noted = 12;
using Steady = std::chrono::steady_clock;

// Records when each attempt is sent, which is a SET.
class NotingTransport : public hiredis::Transport {
   public:
    NotingTransport(const std::string& uri, const Options& options)
        : hiredis::Transport{Endpoints{uri}.list(), options} {}

    redlock::detail::Sent send(std::size_t node, std::string_view request) {
        if (request.find("SET") != std::string_view::npos) times.push_back(Steady::now());
        return hiredis::Transport::send(node, request);
    }

    std::vector<Steady::time_point> times;
};

std::vector<double> delays_of_attempts(const std::string& uri) {
    Options options = patient();
    options.notify = false;
    options.fencing = false;
    options.retry = {.base = 60ms, .cap = 60ms, .multiplier = 1, .max_attempts = attempts_noted};
    auto transport = std::make_unique<NotingTransport>(uri, options);
    const auto& times = transport->times;
    BasicRedlock<NotingTransport, LeaseClock> locks{std::move(transport), options};
    static_cast<void>(locks.lock("name", {.ttl = 1h, .wait = 60s}));
    std::vector<double> delays;
    for (std::size_t i = 1; i < times.size(); ++i) {
        delays.push_back(std::chrono::duration<double, std::milli>(times[i] - times[i - 1]).count());
    }
    return delays;
}

// Another process runs this same program, and finds its task in the environment: "note <uri> <file>", or
// "wait <uris> <file>", in which case the test kills it.
class Other : public testing::Environment {
   public:
    void SetUp() override {
        const char* task = std::getenv(task_variable);
        if (task == nullptr) return;
        std::istringstream input{task};
        const std::vector<std::string> parts{std::istream_iterator<std::string>{input}, {}};
        if (parts.at(0) == "note") {
            std::ofstream file{parts.at(2) + ".part"};
            for (const double delay : delays_of_attempts(parts.at(1))) file << delay << '\n';
            file.close();
            std::filesystem::rename(parts.at(2) + ".part", parts.at(2));
        } else {
            Redlock locks{parts.at(1), soon_again()};
            static_cast<void>(locks.lock("name", {.ttl = 1h, .wait = forever}));
        }
        std::_Exit(0);
    }

    static Command command(const std::string& task) {
        const auto self = std::filesystem::read_symlink("/proc/self/exe").string();
        return {{find_executable("env").value(), std::string{task_variable} + "=" + task, self}};
    }
};

[[maybe_unused]] const auto* const other = testing::AddGlobalTestEnvironment(new Other);

TEST(WaitingRetry, two_processes_draw_different_delays) {
    RedisServer server;
    server.query({"SET", "name", "theirs"});
    TemporaryDirectory directory;
    const std::vector<std::string> files{directory.file("one"), directory.file("two")};
    std::vector<std::unique_ptr<ChildProcess>> processes;
    for (const auto& file : files) {
        const std::string task = "note " + server.uri() + " " + file;
        processes.push_back(std::make_unique<ChildProcess>(Other::command(task)));
    }
    std::vector<std::vector<double>> delays;
    for (const auto& path : files) {
        ASSERT_TRUE(eventually(patience, [&] { return std::filesystem::exists(path); }));
        std::ifstream file{path};
        delays.emplace_back(std::istream_iterator<double>{file}, std::istream_iterator<double>{});
        ASSERT_EQ(delays.back().size(), attempts_noted - 1);
    }
    double largest_difference = 0;
    for (std::size_t i = 0; i < delays[0].size(); ++i) {
        largest_difference = std::max(largest_difference, std::abs(delays[0][i] - delays[1][i]));
    }
    EXPECT_GT(largest_difference, 5.0) << "ms, of 60: those who wake at once collide again and again";
}

TEST(WaitingRetry, a_waiter_that_is_killed_once_it_was_notified_holds_up_nobody_for_long) {
    Cluster cluster{3};
    auto holding = connect_to(cluster, soon_again());
    auto locks = connect_to(cluster, soon_again());
    auto held = holding.try_lock("name", 1h).value();
    std::string uris;
    for (const auto& uri : cluster.uris()) uris += (uris.empty() ? "" : ",") + uri;
    ChildProcess victim{Other::command("wait " + uris)};
    ASSERT_TRUE(are_queued(cluster, "name", 1));
    auto waiting = wait_in_thread(locks, "name");
    ASSERT_TRUE(are_queued(cluster, "name", 2));
    victim.stop();  // its connections stay open, but it does not read from them
    ASSERT_TRUE(held.unlock());
    victim.kill();
    EXPECT_TRUE(is_soon_over(waiting));
    auto lock = waiting.get();
    ASSERT_TRUE(lock) << lock.error().message();
    EXPECT_TRUE(lock->unlock());
    EXPECT_TRUE(is_clean(cluster));
}

TEST(WaitingRetry, the_users_callable_is_told_of_each_attempt_and_may_end_the_wait) {
    Cluster cluster{3};
    occupy(cluster, "name", 1h);
    Options options = patient();
    options.notify = false;
    std::vector<std::uint32_t> attempts;
    options.retry.decide = [&](std::uint32_t attempt,
                               const Failure& failure) -> std::optional<std::chrono::milliseconds> {
        attempts.push_back(attempt);
        EXPECT_EQ(failure.code(), errc::contended);
        if (attempt < 4) return 1ms;
        return std::nullopt;
    };
    auto locks = connect_to(cluster, options);
    const auto lock = locks.lock("name", {.ttl = 1h, .wait = forever});
    ASSERT_FALSE(lock);
    EXPECT_EQ(attempts, (std::vector<std::uint32_t>{1, 2, 3, 4}));
    EXPECT_EQ(lock.error().attempts(), 4U);
}

TEST(WaitingRetry, the_users_callable_may_end_a_wait_for_calls_too) {
    Cluster cluster{3};
    occupy(cluster, "name", 1h);
    Options options = soon_again();
    options.retry.decide = [](std::uint32_t attempt,
                              const Failure&) -> std::optional<std::chrono::milliseconds> {
        if (attempt < 3) return 1ms;
        return std::nullopt;
    };
    auto locks = connect_to(cluster, options);
    auto waiting = wait_in_thread(locks, "name", {.ttl = 1h, .wait = forever});
    EXPECT_TRUE(is_soon_over(waiting));
    EXPECT_EQ(waiting.get().error().attempts(), 3U);
}

TEST(WaitingRetry, a_wait_that_ran_out_says_what_it_saw) {
    Cluster cluster{3};
    occupy(cluster, "name", 1h);
    for (const bool notify : {true, false}) {
        Options options = brisk();
        options.notify = notify;
        auto locks = connect_to(cluster, options);
        warm_up(locks);
        const auto lock = locks.lock("name", {.ttl = 1h, .wait = 800ms});
        ASSERT_FALSE(lock);
        const Failure& failure = lock.error();
        EXPECT_EQ(failure.code(), errc::contended) << failure.message();
        EXPECT_GE(failure.attempts(), 2U);
        EXPECT_GT(failure.holder_remaining().value_or(0ms), 50min);
        EXPECT_LE(failure.holder_remaining().value_or(2h), 1h);
        const auto votes = votes_of(failure.nodes());
        EXPECT_GE(std::count(votes.begin(), votes.end(), Vote::denied), 2) << failure.message();
        EXPECT_NE(failure.message().find("after "), std::string::npos) << failure.message();
    }
}

TEST(WaitingRetry, no_wait_is_exceeded_by_more_than_a_node_timeout) {
    Cluster cluster{3};
    constexpr auto allowance = 2s;  // for a busy machine
    for (const bool is_hung : {false, true}) {
        for (const auto wait : {0ms, 50ms, 700ms}) {
            auto locks = connect_to(cluster, brisk());
            warm_up(locks);
            occupy(cluster, "name", 1h);
            if (is_hung) cluster.pause_first(2);
            std::vector<std::thread> threads;
            for (int i = 0; i < 3; ++i) {  // one contends, two are in the local queue
                threads.emplace_back([&] {
                    const auto before = Steady::now();
                    EXPECT_FALSE(got(locks.lock("name", {.ttl = 1h, .wait = wait})));
                    EXPECT_LE(Steady::now() - before, wait + brisk().node_timeout + allowance);
                });
            }
            for (auto& thread : threads) thread.join();
            cluster.resume_all();
            vacate(cluster, "name");
        }
    }
}

}  // namespace
}  // namespace redlock::test

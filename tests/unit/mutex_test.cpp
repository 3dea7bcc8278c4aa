// SPDX-License-Identifier: Apache-2.0
// Mutex: what it refuses, when it gives up, and how it reports that.
#include "redlock/mutex.hpp"

#include <gtest/gtest.h>

#include <chrono>
#include <limits>
#include <mutex>
#include <optional>
#include <set>
#include <stdexcept>
#include <stop_token>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "unit/scripted_world.hpp"

namespace redlock::test {
namespace {

using SteadyClock = std::chrono::steady_clock;

void hold_elsewhere(World& world, const std::string& name, std::chrono::milliseconds ttl = 1h) {
    for (std::size_t i = 0; i < world.size(); ++i) world.put(i, name, "another", ttl);
}

std::size_t attempts_in(const World& world) { return world.handed_to(0, "acquire").size(); }

std::string refusal(ScriptedRedlock& locks, const Resources& resources, const LockOptions& how) {
    try {
        const ScriptedMutex mutex{locks, resources, how};
    } catch (const std::invalid_argument& error) {
        return error.what();
    }
    return {};
}

TEST(Mutex, throws_where_the_policy_gives_up) {
    Options options = plain_options();
    options.retry.max_attempts = 2;
    World world{3};
    auto locks = connected_to(world, options);
    hold_elsewhere(world, "name");
    ScriptedMutex mutex{locks, "name"};
    EXPECT_THROW(mutex.lock(), Error);
    EXPECT_EQ(attempts_in(world), 2U);
}

TEST(Mutex, keeps_its_place_in_the_queues_for_as_long_as_it_waits) {
    Options options = plain_options();
    options.notify = true;
    World world{3};
    world.hears = true;
    auto locks = connected_to(world, options);
    hold_elsewhere(world, "name", 30s);
    for (std::size_t i = 0; i < 3; ++i) {
        world[i].says = [](const Request& request) -> std::optional<ScriptedReply> {
            if (kind_of(request) == "enlist" || kind_of(request) == "delist") return ScriptedReply::number(1);
            return std::nullopt;
        };
    }
    ScriptedMutex mutex{locks, "name"};
    mutex.lock();
    mutex.unlock();
    std::set<std::string> since;
    for (const Handed& one : world.handed_to(0, "enlist")) since.insert(one.request.at(6));
    EXPECT_EQ(since.size(), 1U);
    EXPECT_GT(world.handed_to(0, "enlist").size(), 5U);
}

TEST(Mutex, any_point_in_time_and_any_duration_will_do) {
    World world{3};
    auto locks = connected_to(world);
    hold_elsewhere(world, "name");
    ScriptedMutex mutex{locks, "name"};
    EXPECT_FALSE(mutex.try_lock_until(std::chrono::steady_clock::time_point::min()));
    EXPECT_FALSE(mutex.try_lock_until(std::chrono::system_clock::time_point::min()));
    EXPECT_FALSE(mutex.try_lock_for(std::chrono::hours::min()));
    EXPECT_EQ(attempts_in(world), 3U);
    for (std::size_t i = 0; i < 3; ++i) world.erase(i, "name");
    EXPECT_TRUE(mutex.try_lock_for(std::chrono::hours::max()));
    mutex.unlock();
    EXPECT_TRUE(mutex.try_lock_until(std::chrono::steady_clock::time_point::max()));
    mutex.unlock();
}

TEST(Mutex, is_not_made_of_what_can_never_be_had) {
    World world{3};
    auto locks = connected_to(world);
    const auto years = [](std::int64_t count) { return std::chrono::hours{24 * 365 * count}; };
    const std::vector<std::pair<LockOptions, std::string>> bad = {
        {{.ttl = 0ms}, "the ttl is 0 ms, but must be more than"},
        {{.ttl = -1s}, "the ttl is -1000 ms"},
        {{.ttl = years(2)}, "the longest is one year"},
        {{.wait = -5s}, "wait is -5000 ms, but must be 0, up to ten years"},
        {{.wait = years(300)}, "wait is 9460800000000 ms"},
        {{.wait = std::chrono::milliseconds::max() - 1ms}, "wait is 9223372036854775806 ms"},
        {{.wait = std::chrono::milliseconds::min()}, "wait is -9223372036854775808 ms"},
        {{.wait_unreachable = -1ms}, "wait_unreachable is -1 ms"},
        {{.renew = true, .renew_limit = 1s}, "renew_limit is 1000 ms"},
    };
    for (const auto& [how, text] : bad) {
        EXPECT_NE(refusal(locks, "name", how).find(text), std::string::npos) << refusal(locks, "name", how);
    }
    EXPECT_NE(refusal(locks, std::vector<std::string>{}, {}).find("the list of resources is empty"),
              std::string::npos);
    EXPECT_NE(refusal(locks, "", {}).find("an empty name"), std::string::npos);
    EXPECT_EQ(refusal(locks, "name", {.wait = years(10)}), "");
    EXPECT_EQ(refusal(locks, "name", {.wait = forever}), "");
    const auto there = std::move(locks);
    EXPECT_NE(refusal(locks, "name", {}).find("moved from"), std::string::npos);  // NOLINT
}

TEST(Mutex, throws_where_it_can_never_be_had_any_more) {
    World world{3};
    auto locks = connected_to(world);
    ScriptedMutex mutex{locks, "name"};
    const auto there = std::move(locks);
    const auto code_of = [](const auto& call) -> std::optional<std::error_code> {
        try {
            call();
        } catch (const Error& error) {
            return error.code();
        }
        return std::nullopt;
    };
    EXPECT_EQ(code_of([&] { static_cast<void>(mutex.try_lock()); }), errc::invalid_argument);
    EXPECT_EQ(code_of([&] { static_cast<void>(mutex.try_lock_for(1h)); }), errc::invalid_argument);
    EXPECT_EQ(code_of([&] { static_cast<void>(mutex.try_lock_until(SteadyClock::now() + 1h)); }),
              errc::invalid_argument);
    EXPECT_EQ(code_of([&] { mutex.lock(); }), errc::invalid_argument);
}

/// Runs at a third of the speed of the world's clock; for one test at a time.
struct SlowClock {
    using duration = std::chrono::nanoseconds;
    using rep = duration::rep;
    using period = duration::period;
    using time_point = std::chrono::time_point<SlowClock, duration>;
    static constexpr bool is_steady = true;
    static inline std::optional<ManualClock> clock;
    static time_point now() { return time_point{clock->now().time_since_epoch() / 3}; }
};

TEST(Mutex, does_not_give_up_before_the_time_is_over_on_the_callers_clock) {
    World world{3};
    auto locks = connected_to(world);
    hold_elsewhere(world, "name");
    ScriptedMutex mutex{locks, "name"};
    SlowClock::clock = world.clock;
    const auto when = SlowClock::now() + 100ms;
    EXPECT_FALSE(mutex.try_lock_until(when));
    EXPECT_GE(SlowClock::now(), when);
    // The length is no whole number of milliseconds; the wait itself takes no time here.
    for (const auto part : {1us, 300us, 999us, 1001us}) {
        const auto end = SteadyClock::now() + part;
        EXPECT_FALSE(mutex.try_lock_until(end));
        EXPECT_GE(SteadyClock::now(), end) << part.count() << " us";
        const auto wall = std::chrono::system_clock::now();
        const auto start = SteadyClock::now();
        EXPECT_FALSE(mutex.try_lock_for(part));
        EXPECT_GE(SteadyClock::now() - start, part);
        EXPECT_FALSE(mutex.try_lock_until(wall));
    }
    SlowClock::clock.reset();
}

TEST(Mutex, nor_where_a_thread_of_this_process_holds_it) {
    World world{3};
    auto locks = connected_to(world);
    ScriptedMutex mutex{locks, "name"};
    const std::lock_guard guard{mutex};
    std::thread{[&] {
        for (const auto part : {1us, 999us, 1001us}) {
            const auto end = SteadyClock::now() + part;
            EXPECT_FALSE(mutex.try_lock_until(end));
            EXPECT_GE(SteadyClock::now(), end) << part.count() << " us";
        }
        ASSERT_TRUE(mutex.last_failure());
        EXPECT_EQ(*mutex.last_failure(), errc::contended);
        EXPECT_NE(mutex.last_failure()->message().find("a thread of this process"), std::string::npos);
    }}.join();
}

// Options with which it would try in vain for an hour.
TEST(Mutex, gives_up_before_the_time_is_over_where_the_user_has_said_so) {
    Options options = plain_options();
    options.retry.max_attempts = 2;
    World world{3};
    auto locks = connected_to(world, options);
    hold_elsewhere(world, "name", 100h);
    ScriptedMutex mutex{locks, "name"};
    EXPECT_FALSE(mutex.try_lock_for(1h));
    EXPECT_EQ(attempts_in(world), 2U);

    options.retry.max_attempts = 0;
    options.retry.decide = [](std::uint32_t, const Failure&) { return std::nullopt; };
    World second{3};
    auto undecided = connected_to(second, options);
    hold_elsewhere(second, "name", 100h);
    ScriptedMutex by_decision{undecided, "name"};
    EXPECT_FALSE(by_decision.try_lock_for(1h));
    EXPECT_EQ(attempts_in(second), 1U);

    World silent{3};
    auto unheard = connected_to(silent);
    for (std::size_t i = 0; i < 3; ++i) silent.hang(i);
    ScriptedMutex impatient{unheard, "name", {.wait_unreachable = 1s}};
    EXPECT_FALSE(impatient.try_lock_for(1h));
    EXPECT_EQ(impatient.last_failure(), errc::unreachable);

    std::stop_source stop;
    stop.request_stop();
    ScriptedMutex stopped{undecided, "name", {.stop = stop.get_token()}};
    EXPECT_FALSE(stopped.try_lock_for(1h));
    EXPECT_EQ(stopped.last_failure(), errc::cancelled);
}

TEST(Mutex, says_why_the_last_try_failed_until_one_succeeds) {
    World world{3};
    auto locks = connected_to(world);
    ScriptedMutex mutex{locks, "name"};
    EXPECT_FALSE(mutex.last_failure());
    hold_elsewhere(world, "name");
    EXPECT_FALSE(mutex.try_lock());
    ASSERT_TRUE(mutex.last_failure());
    EXPECT_EQ(*mutex.last_failure(), errc::contended);
    EXPECT_EQ(mutex.last_failure()->nodes().size(), 3U);
    for (std::size_t i = 0; i < 3; ++i) world.erase(i, "name");
    EXPECT_TRUE(mutex.try_lock());
    EXPECT_FALSE(mutex.last_failure());
    mutex.unlock();
}

// Further away than nanoseconds can express.
TEST(Mutex, points_in_time_of_coarse_clocks_overflow_nowhere) {
    World world{3};
    auto locks = connected_to(world);
    ScriptedMutex mutex{locks, "name"};
    using Hours = std::chrono::time_point<std::chrono::system_clock, std::chrono::hours>;
    using Exact = std::chrono::time_point<std::chrono::system_clock, std::chrono::duration<double>>;
    EXPECT_TRUE(mutex.try_lock_until(Hours::max()));
    mutex.unlock();
    EXPECT_TRUE(mutex.try_lock_until(Exact::max()));
    mutex.unlock();
    EXPECT_TRUE(mutex.try_lock_until(Hours::min()));
    mutex.unlock();
    hold_elsewhere(world, "name");
    EXPECT_FALSE(mutex.try_lock_until(Hours::min()));
    EXPECT_FALSE(mutex.try_lock_until(Exact::min()));
    EXPECT_FALSE(mutex.try_lock_for(std::chrono::duration<double>{std::numeric_limits<double>::quiet_NaN()}));
}

}  // namespace
}  // namespace redlock::test

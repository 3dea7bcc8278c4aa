// SPDX-License-Identifier: Apache-2.0
// RetryPolicy::decide is the user's code: what it may do, and where it runs. Rule R32, over nodes in memory.
#include <gtest/gtest.h>

#include <cstdint>
#include <functional>
#include <mutex>
#include <optional>
#include <stdexcept>
#include <stop_token>
#include <thread>
#include <vector>

#include "support/got.hpp"
#include "unit/scripted_world.hpp"

namespace redlock::test {
namespace {

using Delay = std::optional<std::chrono::milliseconds>;

// A client with this policy, and a resource that another client holds.
struct Deciding {
    explicit Deciding(std::function<Delay(std::uint32_t)> decide) {
        Options options = plain_options();
        options.notify = true;
        world.hears = true;
        options.retry.decide = [decide = std::move(decide)](std::uint32_t attempt, const Failure&) {
            return decide(attempt);
        };
        locks.emplace(connected_to(world, options));
        for (std::size_t i = 0; i < world.size(); ++i) world.put(i, "name", "another", 1h);
    }
    World world{3};
    std::optional<ScriptedRedlock> locks;
};

TEST(Decide, R32_may_use_its_redlock) {
    std::optional<Deciding> it;
    std::optional<ScriptedRedlock::lock_type> other;
    std::vector<errc> seen;
    const auto note = [&](const auto& result) { seen.push_back(result ? errc{} : result.error().code()); };
    it.emplace([&](std::uint32_t attempt) -> Delay {
        if (attempt > 2) return std::nullopt;
        note(it->locks->inspect("name"));
        note(it->locks->try_lock("name", 10s));
        auto fresh = it->locks->try_lock("fresh", 10s);
        note(fresh);
        if (fresh) note(fresh->unlock());
        if (other) note(other->unlock());
        return 10ms;
    });
    other.emplace(it->locks->try_lock("other", 10s).value());
    EXPECT_FALSE(got(it->locks->lock("name", {.ttl = 10s, .wait = 1s})));
    const errc yes{};
    EXPECT_EQ(seen, (std::vector<errc>{yes, errc::contended, yes, yes, yes,  //
                                       yes, errc::contended, yes, yes, errc::lost}));
}

// decide() locks the resource that it decides about: it waits until its own wait ends, not behind itself.
TEST(Decide, R32_may_wait_for_the_same_resource) {
    std::optional<Deciding> it;
    int depth = 0;
    std::vector<bool> inner;
    it.emplace([&](std::uint32_t) -> Delay {
        if (depth > 0) return 10ms;
        ++depth;
        inner.push_back(got(it->locks->lock("name", {.ttl = 10s, .wait = 50ms})));
        for (std::size_t i = 0; i < 3; ++i) it->world.erase(i, "name");
        inner.push_back(got(it->locks->lock("name", {.ttl = 10s, .wait = forever})));
        return 10ms;
    });
    EXPECT_TRUE(got(it->locks->lock("name", {.ttl = 10s, .wait = forever})));
    EXPECT_EQ(inner, (std::vector<bool>{false, true}));
}

TEST(Decide, R32_runs_on_the_thread_of_the_call_whoever_drives) {
    struct Seen {
        std::thread::id thread;
        std::uint32_t attempt;
    };
    std::mutex mutex;
    std::vector<Seen> seen;
    Deciding it{[&](std::uint32_t attempt) -> Delay {
        const std::lock_guard lock{mutex};
        seen.push_back({std::this_thread::get_id(), attempt});
        if (attempt == 20) return std::nullopt;
        return 5ms;
    }};
    it.world.all_move_time = true;
    std::vector<std::jthread> threads;
    std::vector<std::thread::id> ids;
    for (int i = 0; i < 4; ++i) {
        threads.emplace_back(
            [&] { EXPECT_FALSE(got(it.locks->lock("name", {.ttl = 10s, .wait = forever}))); });
        ids.push_back(threads.back().get_id());
    }
    threads.clear();
    for (const auto& id : ids) {
        std::uint32_t attempt = 0;
        for (const Seen& one : seen) {
            if (one.thread != id) continue;
            EXPECT_EQ(one.attempt, ++attempt);
        }
        EXPECT_EQ(attempt, 20U);
    }
}

TEST(Decide, R32_a_stop_that_is_requested_meanwhile_is_not_forgotten) {
    std::stop_source stop;
    Deciding it{[&](std::uint32_t) -> Delay {
        stop.request_stop();
        return 10min;
    }};
    const auto before = it.world.clock.now();
    const auto lock = it.locks->lock("name", {.ttl = 10s, .wait = forever, .stop = stop.get_token()});
    ASSERT_FALSE(lock);
    EXPECT_EQ(lock.error().code(), errc::cancelled);
    EXPECT_LT(it.world.clock.now() - before, 1s);
}

TEST(Decide, what_it_throws_the_call_throws_and_nothing_is_left_behind) {
    Deciding it{[](std::uint32_t attempt) -> Delay {
        if (attempt == 2) throw std::runtime_error{"enough"};
        return 10ms;
    }};
    EXPECT_THROW(static_cast<void>(it.locks->lock("name", {.ttl = 10s, .wait = forever})),
                 std::runtime_error);
    for (std::size_t i = 0; i < 3; ++i) it.world.erase(i, "name");
    EXPECT_TRUE(got(it.locks->lock("name", {.ttl = 10s, .wait = 1s})));
}

}  // namespace
}  // namespace redlock::test

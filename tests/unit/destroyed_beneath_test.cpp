// SPDX-License-Identifier: Apache-2.0
// A Redlock that is destroyed or assigned to during a call on another thread, over nodes in memory.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstddef>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "support/eventually.hpp"
#include "unit/scripted_world.hpp"

namespace redlock::test {
namespace {

struct Beneath {
    explicit Beneath(bool notify) {
        world.all_move_time = true;
        world.hears = true;
        Options options = plain_options();
        options.notify = notify;
        locks.emplace(connected_to(world, options));
        for (std::size_t i = 0; i < 3 * count; ++i)
            world.put(i / count, name_of(i % count), "another", 24h * 365);
    }
    static constexpr std::size_t count = 4;
    static std::string name_of(std::size_t i) { return "name " + std::to_string(i); }

    // The results of threads that wait for held resources, after `end` has run.
    template <class End>
    std::vector<errc> outcomes(End end) {
        std::vector<errc> codes(count);
        std::vector<std::jthread> threads;
        for (std::size_t i = 0; i < count; ++i) {
            threads.emplace_back([&, i] {
                const auto lock = locks->lock(name_of(i), {.ttl = 10s, .wait = forever});
                codes[i] = lock ? errc{} : lock.error().code();
            });
        }
        const auto has_begun = [&](std::size_t i) {
            const auto sent = world.handed_to(0, "acquire");
            return std::any_of(sent.begin(), sent.end(),
                               [&](const Handed& one) { return one.request.at(1) == name_of(i); });
        };
        EXPECT_TRUE(eventually(30s, [&] {
            for (std::size_t i = 0; i < count; ++i) {
                if (!has_begun(i)) return false;
            }
            return true;
        }));
        end();
        threads.clear();
        return codes;
    }

    World world{3};
    std::optional<ScriptedRedlock> locks;
};

TEST(DestroyedBeneath, a_call_that_waits_ends_cancelled) {
    for (const bool notify : {false, true}) {
        Beneath it{notify};
        const auto codes = it.outcomes([&] { it.locks.reset(); });
        EXPECT_EQ(codes, std::vector<errc>(codes.size(), errc::cancelled)) << notify;
    }
}

TEST(DestroyedBeneath, so_does_one_of_a_redlock_that_is_assigned_to) {
    World other{3};
    Beneath it{true};
    const auto codes = it.outcomes([&] { *it.locks = connect_to(other); });
    EXPECT_EQ(codes, std::vector<errc>(codes.size(), errc::cancelled));
}

TEST(DestroyedBeneath, a_lock_that_outlives_it_is_extended_and_unlocked) {
    Beneath it{true};
    auto held = it.locks->try_lock("held", 24h);
    ASSERT_TRUE(held);
    const auto codes = it.outcomes([&] { it.locks.reset(); });
    EXPECT_EQ(codes.front(), errc::cancelled);
    EXPECT_TRUE(held->extend(24h));
    EXPECT_TRUE(held->unlock());
    EXPECT_EQ(it.world.count_holding("held"), 0U);
}

}  // namespace
}  // namespace redlock::test

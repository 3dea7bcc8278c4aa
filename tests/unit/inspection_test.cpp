// SPDX-License-Identifier: Apache-2.0
// inspect(): "available" only where an attempt would have been granted; the remaining time is that of a
// quorum.
#include "redlock/inspect.hpp"

#include <gtest/gtest.h>

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "redlock/redlock.hpp"
#include "unit/scripted_world.hpp"

namespace redlock::test {
namespace {

using State = Inspection::State;

constexpr std::int64_t no_ttl = -1;  // the reply of PTTL
constexpr std::int64_t no_key = -2;
constexpr std::int64_t foreign_counter = -1;

// A node's answer for the one resource: a digest of the holder, PTTL, counter.
void says(World::Node& node, std::string holder, std::int64_t ttl_ms, std::int64_t counter = 0) {
    ScriptedReply text{ScriptedReply::Kind::text, 0, std::move(holder), {}};
    const ScriptedReply seen{ScriptedReply::Kind::array,
                             0,
                             {},
                             {text, ScriptedReply::number(ttl_ms), ScriptedReply::number(counter)}};
    node.says = [seen](const Request& request) -> std::optional<ScriptedReply> {
        if (kind_of(request) != "an unknown script") return std::nullopt;
        return seen;
    };
}

Inspection seen_in(World& world, const Options& options = plain_options()) {
    auto locks = connect_to(world, options);
    return locks.inspect("name").value();
}

TEST(Inspection, R25_a_node_in_its_quarantine_makes_nothing_available) {
    World world{3};
    for (std::size_t i = 0; i < 3; ++i) says(world[i], "", no_key);
    for (std::size_t i = 0; i < 2; ++i) world[i].info.uptime = 0s;
    Options options = plain_options();
    options.restart_quarantine = 1h;
    auto locks = connect_to(world, options);
    const auto seen = locks.inspect("name").value();
    EXPECT_EQ(seen.state, State::undecided);
    EXPECT_EQ(seen.nodes[0].report.vote, Vote::quarantined);
    EXPECT_NE(seen.nodes[0].report.detail.find("restarted"), std::string::npos);
    EXPECT_EQ(seen.nodes[2].report.vote, Vote::granted);
    const auto lock = locks.try_lock("name", 10s);
    ASSERT_FALSE(lock);
    EXPECT_EQ(lock.error(), errc::unreachable);

    world.clock.advance(options.restart_quarantine + 1s);
    EXPECT_EQ(locks.inspect("name").value().state, State::available);
    EXPECT_TRUE(got(locks.try_lock("name", 10s)));
}

TEST(Inspection, R25_what_a_node_in_its_quarantine_has_counts_as_held) {
    World world{3};
    for (std::size_t i = 0; i < 3; ++i) {
        says(world[i], "0a1b2c3d", 5'000, 7);
        world[i].info.uptime = 0s;
    }
    Options options = plain_options();
    options.restart_quarantine = 1h;
    const auto seen = seen_in(world, options);
    EXPECT_EQ(seen.state, State::held);
    EXPECT_EQ(seen.remaining, 5s);
    EXPECT_EQ(seen.nodes[0].report.vote, Vote::granted);
    EXPECT_EQ(seen.nodes[0].fence, 7U);
}

TEST(Inspection, A_counter_that_gives_no_token_makes_nothing_available_with_fencing) {
    for (const std::int64_t counter : {foreign_counter, static_cast<std::int64_t>(fencing_token_max)}) {
        World world{3};
        for (std::size_t i = 0; i < 3; ++i) says(world[i], "", no_key, i < 2 ? counter : 0);
        EXPECT_EQ(seen_in(world).state, State::available) << "without fencing nobody asks for it";
        Options options = plain_options();
        options.fencing = true;
        const auto seen = seen_in(world, options);
        EXPECT_EQ(seen.state, State::undecided) << counter;
        EXPECT_EQ(seen.nodes[0].report.vote, Vote::refused);
        EXPECT_NE(seen.nodes[0].report.detail.find("2^53"), std::string::npos);
    }
}

TEST(Inspection, A_key_without_ttl_outlasts_every_other) {
    const auto remaining = [](const std::vector<std::int64_t>& ttls_ms) {
        World world{5};
        for (std::size_t i = 0; i < 5; ++i) says(world[i], "0a1b2c3d", ttls_ms[i]);
        const auto seen = seen_in(world);
        EXPECT_EQ(seen.state, State::held);
        return seen.remaining;
    };
    EXPECT_EQ(remaining({no_ttl, no_ttl, no_ttl, no_ttl, no_ttl}), forever);
    EXPECT_EQ(remaining({no_ttl, no_ttl, no_ttl, 60'000, 50'000}), forever);
    EXPECT_EQ(remaining({no_ttl, no_ttl, 60'000, 50'000, 40'000}), 60s);
    EXPECT_EQ(remaining({60'000, no_ttl, 50'000, 40'000, 30'000}), 50s);
}

}  // namespace
}  // namespace redlock::test

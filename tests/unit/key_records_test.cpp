// SPDX-License-Identifier: Apache-2.0
// Until when our keys may exist on a node, and the pending releases for them, rule R34.
#include "redlock/engine/key_records.hpp"

#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "redlock/engine/pending_releases.hpp"
#include "unit/hand_driven.hpp"

namespace redlock::test {
namespace {

using Keys = detail::KeyRecords<ManualClock::time_point>;
using Link = detail::Link<ManualClock::time_point>;

ManualClock::time_point hour_and(Nanoseconds more) { return ManualClock::time_point{1h + more}; }

TEST(KeyRecords, are_nowhere_before_anything_was_sent) {
    Keys keys{2};
    EXPECT_FALSE(keys.until(0, Link{}, hour_and(0s)));
    EXPECT_FALSE(keys.may_yet_run(0, Link{}));
}

TEST(KeyRecords, R34_are_there_for_a_ttl_from_the_answer_however_late_that_is) {
    Keys keys{2};
    const Link link{1, hour_and(0s)};
    keys.on_sent(0, link, 10s);
    EXPECT_TRUE(keys.may_yet_run(0, link));
    EXPECT_EQ(keys.until(0, link, hour_and(5s)), hour_and(15s)) << "it may have run just now";
    keys.on_answered(0, hour_and(60s) + 10s);
    EXPECT_FALSE(keys.may_yet_run(0, link));
    EXPECT_EQ(keys.until(0, link, hour_and(60s)), hour_and(70s));
    EXPECT_FALSE(keys.until(0, link, hour_and(70s))) << "the ttl has done its work";
    EXPECT_FALSE(keys.until(1, link, hour_and(60s))) << "each node has a record of its own";
}

TEST(KeyRecords, R34_an_answer_that_did_nothing_raises_nothing_and_lowers_nothing) {
    Keys keys{1};
    const Link link{1, hour_and(0s)};
    keys.on_sent(0, link, 10s);
    keys.on_answered(0, std::nullopt);
    EXPECT_FALSE(keys.until(0, link, hour_and(1s)));
    keys.on_sent(0, link, 10s);
    keys.on_answered(0, hour_and(11s));
    keys.on_sent(0, link, 20s);
    keys.on_answered(0, std::nullopt);
    EXPECT_EQ(keys.until(0, link, hour_and(2s)), hour_and(11s));
}

TEST(KeyRecords, R34_a_shorter_one_does_not_lower_what_a_longer_one_may_have_made) {
    Keys keys{1};
    const Link link{1, hour_and(0s)};
    keys.on_sent(0, link, 10s);
    keys.on_sent(0, link, 1s);
    keys.on_answered(0, hour_and(10s));
    EXPECT_EQ(keys.until(0, link, hour_and(1s)), hour_and(11s)) << "the longest of those that are unanswered";
    keys.on_answered(0, hour_and(2s));
    EXPECT_EQ(keys.until(0, link, hour_and(1s)), hour_and(10s));
}

TEST(KeyRecords, R34_what_was_lost_with_its_connection_may_run_until_the_next_one_is_there) {
    Keys keys{1};
    const Link old{1, hour_and(0s)};
    keys.on_sent(0, old, 10s);
    EXPECT_TRUE(keys.may_yet_run(0, old)) << "and no next one has come";
    const Link next{2, hour_and(100s)};
    EXPECT_FALSE(keys.may_yet_run(0, next)) << "which has ended the old one";
    EXPECT_EQ(keys.until(0, next, hour_and(105s)), hour_and(110s)) << "it may have run at the last moment";
    EXPECT_FALSE(keys.until(0, next, hour_and(110s)));
}

TEST(KeyRecords, R34_a_confirmed_release_ends_the_record) {
    Keys keys{1};
    const Link link{1, hour_and(0s)};
    keys.on_sent(0, link, 10s);
    keys.on_answered(0, hour_and(10s));
    keys.on_released(0, link);
    EXPECT_FALSE(keys.until(0, link, hour_and(1s)));
    keys.on_sent(0, link, 10s);
    const Link next{2, hour_and(5s)};
    keys.on_released(0, next);
    EXPECT_FALSE(keys.until(0, next, hour_and(6s))) << "what was sent before it cannot run after it";
}

// One of this machine's clocks may be slewed to run fast, and the node's is not.
TEST(KeyRecords, R34_are_gone_when_the_ttl_is_over_by_both_clocks) {
    detail::KeyRecords<LeaseClock::time_point> keys{1};
    const detail::Link<LeaseClock::time_point> link{1, {100s, 50s}};
    keys.on_sent(0, link, 10s);
    keys.on_answered(0, LeaseClock::time_point{110s, 60s});
    EXPECT_TRUE(keys.until(0, link, {110s, 59s}));
    EXPECT_TRUE(keys.until(0, link, {109s, 60s}));
    EXPECT_FALSE(keys.until(0, link, {110s, 60s}));
}

// ---- the releases that follow from it ---------------------------------------------------------------------

using Owed = detail::PendingReleases<ManualClock::time_point>;

detail::Ref<detail::Round<ManualClock::time_point>> release_of(detail::Ref<Keys> keys,
                                                               std::size_t name_size = 4) {
    detail::Claim claim;
    claim.resources = {std::string(name_size, 'x')};
    auto round = detail::make_ref<detail::Round<ManualClock::time_point>>(
        detail::release_command(claim, Token::parse("t")), 1U, hour_and(0s), hour_and(0s));
    round->keys = std::move(keys);
    return round;
}

TEST(PendingReleases, R34_are_urgent_until_the_keys_are_gone_and_then_forgotten) {
    Owed owed;
    const Link link{1, hour_and(0s)};
    auto keys = detail::make_ref<Keys>(1U);
    owed.add(release_of(keys), hour_and(10s), 16);
    EXPECT_TRUE(owed.are_urgent());
    EXPECT_EQ(owed.next_due(), hour_and(10s));
    owed.expire(0, link, hour_and(9s));
    EXPECT_EQ(owed.size(), 1U);
    owed.expire(0, link, hour_and(10s));
    EXPECT_TRUE(owed.empty());
    EXPECT_FALSE(owed.next_due());
}

TEST(PendingReleases, R34_are_urgent_until_the_keys_are_gone_by_both_clocks) {
    using Point = LeaseClock::time_point;
    detail::PendingReleases<Point> owed;
    const detail::Link<Point> link{1, {100s, 50s}};
    const Point end{110s, 60s};
    owed.add(detail::make_ref<detail::Round<Point>>(
                 detail::release_command(detail::Claim{std::vector<std::string>{"x"}}, Token::parse("t")), 1U,
                 link.since, link.since),
             end, 16);
    owed.expire(0, link, {110s, 58s});
    ASSERT_TRUE(owed.are_urgent());
    EXPECT_EQ(owed.next_due(), (Point{112s, 60s})) << "it is looked at again when it may be over by both";
    owed.expire(0, link, {111s, 60s});
    EXPECT_TRUE(owed.empty());
}

// CASES 26.
TEST(PendingReleases, R34_are_kept_but_worth_no_connection_where_the_acquire_may_yet_run) {
    Owed owed;
    const Link link{1, hour_and(0s)};
    auto keys = detail::make_ref<Keys>(1U);
    keys->on_sent(0, link, 10s);
    owed.add(release_of(keys), hour_and(10s), 16);
    owed.expire(0, link, hour_and(10s));
    EXPECT_FALSE(owed.are_urgent());
    EXPECT_FALSE(owed.next_due()) << "no timer either";
    ASSERT_EQ(owed.size(), 1U);
    EXPECT_EQ(owed.take()->keys, keys);
    EXPECT_TRUE(owed.empty());
}

TEST(PendingReleases, are_bounded_by_count_and_by_bytes) {
    Owed owed;
    auto keys = detail::make_ref<Keys>(1U);
    for (int i = 0; i < 100; ++i) owed.add(release_of(keys), hour_and(10s), 16);
    EXPECT_EQ(owed.size(), 16U);
    for (int i = 0; i < 1000; ++i) owed.add(release_of(keys, 60'000), hour_and(20s), 1'000'000);
    EXPECT_LE(owed.size() * 60'000, std::size_t{17} << 20U);
    EXPECT_GT(owed.size(), 100U);
}

// ---- in the engine ----------------------------------------------------------------------------------------

constexpr std::size_t far = 2;  // the node that fails

// A SET runs long after its ttl, counted from the send, has passed. It is answered, and its release is then
// lost with the connection.
TEST(PendingReleases, R34_the_release_of_a_late_grant_is_kept_for_a_ttl_from_then) {
    World world{3};
    auto locks = connected_to(world);
    world.hang(far);
    {
        auto lock = locks.try_lock("name", 1s);
        ASSERT_TRUE(lock);
        world.clock.advance(5s);
        world[far].says = [](const Request& request) -> std::optional<ScriptedReply> {
            return kind_of(request) == "release" ? std::optional{ScriptedReply::error("BUSY it is")}
                                                 : std::nullopt;
        };
        world.resume(far);
        static_cast<void>(lock->unlock());
        world.let_arrive();
    }
    ASSERT_TRUE(world.get(far, "name"));
    static_cast<void>(locks.try_lock("hears the grant", 1s));
    world.cut(far);
    world[far].says = {};
    for (int i = 0; i < 5; ++i) {
        static_cast<void>(locks.try_lock("other", 1s));
        world.clock.advance(60ms);
    }
    world.let_arrive();
    EXPECT_FALSE(world.get(far, "name"));
}

// CASES 26: once its keys have expired, nothing more is done for a node that never comes back.
TEST(PendingReleases, R34_a_node_that_is_gone_for_good_is_not_asked_for_any_more) {
    World world{3};
    HandDriven client{world};
    world.hang(far);
    {
        const auto lease = client.lock("name", {.ttl = 1s});
        ASSERT_TRUE(lease);
        const auto unlock = client.start_unlock(lease);
        client.pass(10ms);
    }
    world.refuse(far);
    client.pass(100ms);
    EXPECT_TRUE(world[far].is_wanted) << "while there may be a key";
    client.pass(2s);
    EXPECT_FALSE(world[far].is_wanted);
    EXPECT_TRUE(client.is_settled());
    world.forget_handed();
    world.resume(far);  // it comes back after all
    const auto lease = client.lock("connects", {.ttl = 1s});
    client.pass(100ms);
    ASSERT_FALSE(world.handed_to(far, "release").empty());
    EXPECT_EQ(world.handed_to(far, "release").front().request.at(3), "name");
}

TEST(PendingReleases, R34_a_release_that_a_node_refuses_for_now_is_repeated_with_growing_pauses) {
    for (const char* error : {"NOREPLICAS not enough", "MISCONF errors writing to the AOF", "OOM no memory",
                              "NOPERM no permissions", "BUSY it is"}) {
        World world{3};
        HandDriven client{world};
        const auto lease = client.lock("name", {.ttl = 60s});
        ASSERT_TRUE(lease);
        world[far].says = [&](const Request& request) -> std::optional<ScriptedReply> {
            if (kind_of(request) != "release") return std::nullopt;
            return ScriptedReply::error(error);
        };
        const auto unlock = client.start_unlock(lease);
        client.pass(5s);
        const std::size_t tries = world.handed_to(far, "release").size();
        EXPECT_GE(tries, 4U) << error;
        EXPECT_LE(tries, 10U) << error;
        EXPECT_FALSE(client.is_settled());
        world[far].says = {};
        client.pass(3s);
        EXPECT_FALSE(world.get(far, "name")) << error;
        EXPECT_TRUE(client.is_settled());
    }
}

// Not every release is sent again after every pause.
TEST(PendingReleases, R34_a_node_that_refuses_releases_is_asked_with_one_of_them) {
    World world{3};
    HandDriven client{world};
    std::vector<HandDriven::LeasePtr> leases;
    for (int i = 0; i < 20; ++i) leases.push_back(client.lock(std::to_string(i), {.ttl = 60s}));
    world[far].says = [](const Request& request) -> std::optional<ScriptedReply> {
        if (kind_of(request) != "release") return std::nullopt;
        return ScriptedReply::error("NOREPLICAS not enough");
    };
    std::vector<HandDriven::StartedPtr<Result<void>>> unlocks;
    for (const auto& lease : leases) unlocks.push_back(client.start_unlock(lease));
    client.pass(5s);
    EXPECT_LE(world.handed_to(far, "release").size(), 20U + 10U);
    world[far].says = {};
    client.pass(3s);
    EXPECT_TRUE(world[far].memory.lock_keys(world.clock.now().time_since_epoch()).empty());
}

TEST(PendingReleases, R19_what_waits_for_a_connection_is_bounded_in_bytes) {
    Options options = plain_options();
    options.backlog = 1'000'000;
    World world{3};
    auto locks = connected_to(world, options);
    world.cut(far);
    world.hang(far);
    const std::string name(65'000, 'x');
    std::size_t refused = 0;
    for (int i = 0; i < 600; ++i) {
        auto lock = locks.try_lock(name, 10s);
        ASSERT_TRUE(lock) << lock.error().message();
        refused += lock->nodes()[far].vote == Vote::timeout ? 1 : 0;
    }
    EXPECT_GT(refused, 200U) << "600 requests of 65 kB, of which 16 MiB may wait";
}

}  // namespace
}  // namespace redlock::test

// SPDX-License-Identifier: Apache-2.0
// Waiting in the nodes' queues, over nodes in memory: when attempts begin, and which requests are sent.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstddef>
#include <optional>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "support/eventually.hpp"
#include "unit/hand_driven.hpp"
#include "unit/scripted_world.hpp"

namespace redlock::test {
namespace {

using Answer = std::optional<ScriptedReply>;

void occupy(World& world, std::chrono::milliseconds ttl = 1h) {
    for (std::size_t i = 0; i < world.size(); ++i) world.put(i, "name", "another", ttl);
}

Options with_calls() {
    Options options = plain_options();
    options.notify = true;
    return options;
}

// Its attempt may not begin so late that it ends after the wait. Found by the simulator.
TEST(Waiting, R8_who_yields_to_those_it_has_notified_ends_within_its_wait) {
    for (const auto wait : {1ms, 30ms, 100ms}) {
        World world{3};
        world.hears = true;
        auto locks = connected_to(world, with_calls());
        for (std::size_t i = 0; i < 3; ++i) {
            world[i].round_trip = 40ms;
            world[i].says = [](const Request& request) -> Answer {
                if (kind_of(request) == "release") return ScriptedReply::number(2);  // a waiter was notified
                if (kind_of(request) == "enlist") return ScriptedReply::number(1);
                return std::nullopt;
            };
        }
        auto lock = locks.try_lock("name", 10s);
        ASSERT_TRUE(lock);
        ASSERT_TRUE(lock->unlock());
        occupy(world);
        const auto before = world.clock.now();
        EXPECT_FALSE(got(locks.lock("name", {.ttl = 10s, .wait = wait})));
        EXPECT_LE(world.clock.now() - before, std::max<Nanoseconds>(wait, 50ms)) << wait.count() << " ms";
    }
}

// R30: the node has left the queue as it is, and the report of the last attempt says so.
TEST(Waiting, who_waited_in_vain_is_told_why_it_could_not_line_up) {
    World world{3};
    world.hears = true;
    auto locks = connected_to(world, with_calls());
    occupy(world);
    for (const std::size_t i : {0U, 1U}) {
        world[i].says = [](const Request& request) -> Answer {
            if (kind_of(request) != "enlist") return std::nullopt;
            return ScriptedReply::error("FOREIGN the queue of resource 1 is not one of ours");
        };
    }
    world[2].says = [](const Request& request) -> Answer {
        if (kind_of(request) != "enlist") return std::nullopt;
        return ScriptedReply::number(1);
    };
    const auto lock = locks.lock("name", {.ttl = 10s, .wait = 1s});
    ASSERT_FALSE(lock);
    EXPECT_EQ(lock.error().nodes().at(0).vote, Vote::denied);
    EXPECT_EQ(lock.error().nodes().at(0).detail, "FOREIGN the queue of resource 1 is not one of ours");
    EXPECT_EQ(lock.error().nodes().at(2).detail, "");
}

// Of four nodes, two without a key are enough to know that nobody holds it. Found by the simulator.
TEST(Waiting, who_finds_it_free_as_it_lines_up_tries_at_once_also_where_the_number_of_nodes_is_even) {
    for (const std::size_t count : {std::size_t{2}, std::size_t{3}, std::size_t{4}, std::size_t{5}}) {
        Options options = with_calls();
        options.retry = {.base = 1h, .cap = 1h, .multiplier = 1.0};
        World world{count};
        world.hears = true;
        world.jitter = 255;
        auto locks = connected_to(world, options);
        occupy(world);
        bool is_free = false;
        for (std::size_t i = 0; i < count; ++i) {
            world[i].says = [&](const Request& request) -> Answer {
                if (kind_of(request) == "enlist") is_free = true;
                if (kind_of(request) == "enlist") return ScriptedReply::number(0);
                if (kind_of(request) == "acquire" && is_free) return ScriptedReply::ok();
                return std::nullopt;
            };
        }
        const auto before = world.clock.now();
        ASSERT_TRUE(locks.lock("name", {.ttl = 10s, .wait = forever})) << count;
        EXPECT_LE(world.clock.now() - before, 10ms) << count;
    }
}

// Of five nodes, two have a leftover key, three have none, and one of these three does not vote: no attempt
// can succeed. The simulator found attempts without a pause for as long as the leftover keys lived.
TEST(Waiting, R8_what_seems_free_and_is_not_to_be_had_is_tried_at_the_pace_of_the_retry_policy) {
    Options options = with_calls();
    options.retry = {.base = 100ms, .cap = 100ms, .multiplier = 1.0};
    World world{5};
    world.hears = true;
    world.jitter = 255;
    auto locks = connected_to(world, options);
    world.put(3, "name", "another", 1h);
    world.put(4, "name", "another", 1h);
    for (std::size_t i = 0; i < 5; ++i) {
        world[i].says = [i](const Request& request) -> Answer {
            if (kind_of(request) == "enlist") return ScriptedReply::number(i < 3 ? 0 : 1);
            if (kind_of(request) == "acquire" && i == 2) return ScriptedReply::error("LOADING it is");
            return std::nullopt;
        };
    }
    const auto lock = locks.lock("name", {.ttl = 10s, .wait = 1s});
    ASSERT_FALSE(lock);
    EXPECT_EQ(lock.error().code(), errc::contended);
    EXPECT_LT(lock.error().attempts(), 25U);
    EXPECT_GT(lock.error().attempts(), 8U);
}

// A delist may be sent again, where the node did not know its script, and arrive after the next enlist. Found
// by the simulator.
TEST(Waiting, who_comes_back_into_a_queue_has_another_name_there_than_who_left) {
    World world{3};
    world.hears = true;
    auto locks = connected_to(world, with_calls());
    occupy(world);
    for (std::size_t i = 0; i < 3; ++i) {
        world[i].says = [](const Request& request) -> Answer {
            if (kind_of(request) == "enlist" || kind_of(request) == "delist") return ScriptedReply::number(1);
            return std::nullopt;
        };
    }
    ASSERT_FALSE(got(locks.lock("name", {.ttl = 10s, .wait = 10s})));
    const auto names_in = [&](const std::string& kind) {
        std::vector<std::string> names;
        for (const Handed& one : world.handed_to(0, kind)) names.push_back(one.request.at(5));
        return names;
    };
    const auto came = names_in("enlist");
    const auto left = names_in("delist");
    ASSERT_GT(came.size(), 2U);
    EXPECT_EQ(std::set<std::string>(came.begin(), came.end()).size(), came.size());
    EXPECT_EQ(came, left) << "each leaves by the name it came with";
}

// A slow node has forgotten the script. It says so after a quorum has already removed the waiter. Its names
// are never used again, so the request may run at any time.
TEST(Waiting, R23_who_leaves_is_taken_out_also_where_the_script_was_unknown_and_the_round_is_over) {
    World world{3};
    world.hears = true;
    auto locks = connected_to(world, with_calls());
    occupy(world);
    for (std::size_t i = 0; i < 3; ++i) {
        world[i].says = [i](const Request& request) -> Answer {
            const std::string kind = kind_of(request);
            if (i == 0 && kind == "delist" && request[0] == "EVALSHA") {
                return ScriptedReply::error("NOSCRIPT No matching script.");
            }
            if (kind == "enlist" || kind == "delist") return ScriptedReply::number(1);
            return std::nullopt;
        };
    }
    world[0].round_trip = 20ms;
    ASSERT_FALSE(got(locks.lock("name", {.ttl = 10s, .wait = 1s})));
    for (int i = 0; i < 3; ++i) {
        world.clock.advance(50ms);
        ASSERT_TRUE(locks.try_lock("other", 10s)) << "whoever drives hears what the node says";
    }
    const auto said = world.handed_to(0, "delist");
    const auto with_text = std::count_if(said.begin(), said.end(),
                                         [](const Handed& one) { return one.request.at(0) == "EVAL"; });
    EXPECT_GT(with_text, 0);
    EXPECT_EQ(static_cast<std::size_t>(2 * with_text), said.size());
}

// Without queues the keys of the second resource must not be taken for one.
TEST(Waiting, who_is_not_to_use_the_queues_does_not_however_often_it_is_handed_on) {
    World world{3};
    world.hears = true;
    HandDriven client{world};
    auto held = client.lock("name", {});
    ASSERT_TRUE(held);
    auto next = client.start_lock("name", {.wait = forever});
    for (int i = 0; i < 40; ++i) {
        client.pass(2ms);
        auto after = client.start_lock("name", {.wait = forever});
        const auto unlock = client.start_unlock(held);
        client.pass(20ms);
        ASSERT_TRUE(unlock->is_done && next->is_done) << i;
        held = next->task.take().value();
        next = std::move(after);
    }
    EXPECT_TRUE(world.handed("enlist").empty());
    EXPECT_TRUE(world.handed("delist").empty());
    const auto unlock = client.start_unlock(held);
    client.pass(2s);
    ASSERT_TRUE(next->is_done);
}

// A process whose threads want the resource one after another must not keep it from other processes.
TEST(Waiting, R8_after_sixteen_in_a_row_those_who_wait_elsewhere_come_first) {
    World world{3};
    world.hears = true;
    for (std::size_t i = 0; i < 3; ++i) {
        world[i].says = [](const Request& request) -> Answer {
            if (kind_of(request) == "enlist") return ScriptedReply::number(0);  // it is free
            if (kind_of(request) == "delist") return ScriptedReply::number(1);
            return std::nullopt;
        };
    }
    HandDriven client{world, with_calls()};
    auto held = client.lock("name", {});
    ASSERT_TRUE(held);
    auto next = client.start_lock("name", {.wait = forever});
    client.pass(20ms);
    world.forget_handed();
    std::vector<int> yields;
    for (int i = 1; i <= 40; ++i) {
        auto after = client.start_lock("name", {.wait = forever});
        const auto unlock = client.start_unlock(held);
        client.pass(20ms);
        ASSERT_TRUE(unlock->is_done && next->is_done) << i;
        // A waiter that yields enters the nodes' queues, behind the others there, before it tries.
        const auto sent = world.handed_to(0);
        const auto acquire =
            std::find_if(sent.begin(), sent.end(), [](const Handed& one) { return one.kind() == "acquire"; });
        const bool yields_now =
            std::any_of(sent.begin(), acquire, [](const Handed& one) { return one.kind() == "enlist"; });
        if (yields_now) yields.push_back(i);
        world.forget_handed();
        held = next->task.take().value();
        next = std::move(after);
    }
    ASSERT_GE(yields.size(), 2U);
    EXPECT_LE(yields.size(), 3U);
    EXPECT_LE(yields[0], 17);
    EXPECT_LE(yields[1], 34);
    const auto unlock = client.start_unlock(held);
    client.pass(2s);
    ASSERT_TRUE(next->is_done);
}

// It yields for the duration of a round, and the release before had to wait for connections.
TEST(Waiting, R8_who_lets_others_come_first_does_so_no_longer_than_its_wait) {
    World world{3};
    world.hears = true;
    auto locks = connected_to(world, with_calls());
    auto held = locks.try_lock("name", 10s);
    ASSERT_TRUE(held);
    for (std::size_t i = 0; i < 3; ++i) {
        world[i].connect_time = 500ms;
        world[i].says = [](const Request& request) -> Answer {
            if (kind_of(request) == "release") return ScriptedReply::number(2);  // others were notified
            return std::nullopt;
        };
        world.cut(i);
    }
    EXPECT_EQ(held->nodes().size(), 3U);  // by then it is known that they are cut
    EXPECT_TRUE(held->unlock());
    const auto before = world.clock.now();
    EXPECT_FALSE(got(locks.lock("name", {.ttl = 10s, .wait = 10ms})));
    EXPECT_LE(world.clock.now() - before, 100ms);
}

// Like a key that lasts for ever: 300 years do not fit into nanoseconds.
TEST(Waiting, R8_a_holder_with_ages_to_go_is_looked_for_at_the_usual_pace) {
    World world{3};
    world.hears = true;
    Options options;
    auto locks = connected_to(world, options);
    for (std::size_t i = 0; i < 3; ++i) {
        world[i].says = [](const Request& request) -> Answer {
            if (kind_of(request) == "acquire") return ScriptedReply::list({0, 1, 9'999'999'999'000});
            if (kind_of(request) == "enlist") return ScriptedReply::list({1, 9'999'999'999'000, 0, 7});
            return ScriptedReply::number(1);
        };
    }
    const auto lock = locks.lock("name", {.ttl = 10s, .wait = 20s});
    ASSERT_FALSE(lock);
    EXPECT_LT(lock.error().attempts(), 20U);
}

// No notice comes: the holder's keys expire shortly before the wait ends.
TEST(Waiting, R8_who_is_not_notified_looks_once_more_before_the_end_of_its_wait) {
    World world{3};
    world.hears = true;
    auto locks = connected_to(world, with_calls());
    occupy(world, 990ms);
    for (std::size_t i = 0; i < 3; ++i) {
        world[i].says = [](const Request& request) -> Answer {
            if (kind_of(request) == "enlist" || kind_of(request) == "delist") return ScriptedReply::number(1);
            return std::nullopt;
        };
    }
    const auto before = world.clock.now();
    const auto lock = locks.lock("name", {.ttl = 10s, .wait = 1s});
    EXPECT_TRUE(lock) << lock.error().message();
    EXPECT_LE(world.clock.now() - before, 1s);
}

// Once only a later call closed it, so a process without later calls kept it for ever.
TEST(Waiting, a_subscription_that_nobody_needs_is_closed_though_nobody_calls) {
    World world{3};
    world.hears = true;
    auto locks = connected_to(world, with_calls());
    occupy(world, 1h);
    ASSERT_FALSE(got(locks.lock("name", {.ttl = 10s, .wait = 50ms})));
    EXPECT_TRUE(world.listens);
    world.clock.advance(9s);
    ASSERT_FALSE(got(locks.lock("name", {.ttl = 10s, .wait = 50ms})));
    world.clock.advance(5s);
    ASSERT_TRUE(locks.inspect("other"));
    EXPECT_TRUE(world.listens) << "it was needed since";
    ASSERT_TRUE(eventually(30s, [&] {
        const std::size_t polls = world.polls();
        std::this_thread::sleep_for(50ms);
        return polls == world.polls();
    })) << "nothing is left over that is a reason for a turn";
    world.clock.advance(6s);
    EXPECT_TRUE(eventually(30s, [&] { return !world.listens; }));
}

}  // namespace
}  // namespace redlock::test

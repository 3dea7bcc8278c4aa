// SPDX-License-Identifier: Apache-2.0
// Which nodes vote and what they report, rules R23 to R26, over nodes in memory.
#include <gtest/gtest.h>

#include <string>
#include <utility>
#include <vector>

#include "unit/hand_driven.hpp"

namespace redlock::test {
namespace {

// A lock that some nodes did not grant says which and why.
NodeReport report_of(ScriptedRedlock& locks, World& world, std::size_t node) {
    const auto lock = locks.try_lock("some other resource", 10s);
    if (!lock) return lock.error().nodes().at(node);
    for (int i = 0; i < 3; ++i) {  // an answer may cause another request
        world.clock.advance(100ms);
        static_cast<void>(lock->nodes());
    }
    return lock->nodes().at(node);
}

std::size_t count_of(const std::vector<Handed>& handed, const std::string& command) {
    std::size_t count = 0;
    for (const Handed& one : handed) count += one.request.at(0) == command ? 1 : 0;
    return count;
}

TEST(Scripts, R23_are_called_by_name_and_healed_in_place_where_unknown) {
    World world{3};
    auto locks = connect_to(world, Options{});
    {
        const auto lock = locks.try_lock("name", 10s);
        ASSERT_TRUE(lock);
        world.clock.advance(10ms);
        for (const NodeReport& node : lock->nodes()) EXPECT_EQ(node.vote, Vote::granted);
    }
    EXPECT_EQ(count_of(world.handed("acquire"), "EVALSHA"), 3U);
    EXPECT_EQ(count_of(world.handed("acquire"), "EVAL"), 3U);
    world.clock.advance(100ms);
    world.forget_handed();
    ASSERT_TRUE(locks.try_lock("name", 10s));
    EXPECT_EQ(count_of(world.handed(), "EVAL"), 0U) << "they know it by now";
}

TEST(Scripts, R23_are_healed_after_a_restart_too) {
    World world{3};
    auto locks = connected_to(world, Options{});
    for (std::size_t i = 0; i < 3; ++i) world.restart_empty(i);
    const auto first = locks.try_lock("name", 10s);  // may be the call that finds out
    const auto lock = locks.try_lock("other", 10s);
    ASSERT_TRUE(lock) << lock.error().message();
}

TEST(Scripts, R23_a_node_that_never_knows_is_asked_twice_and_no_more) {
    World world{3};
    auto locks = connected_to(world, Options{});
    world[0].says = [](const Request&) { return ScriptedReply::error("NOSCRIPT No matching script."); };
    world.forget_handed();
    const NodeReport report = report_of(locks, world, 0);
    EXPECT_EQ(report.vote, Vote::refused);
    EXPECT_NE(report.detail.find("NOSCRIPT"), std::string::npos);
    EXPECT_EQ(world.handed_to(0, "acquire").size(), 2U);
}

// The script would run after the release that undoes it.
TEST(Scripts, R23_an_attempt_that_was_given_up_is_not_healed) {
    World world{3};
    auto locks = connected_to(world, Options{});
    world[0].says = [](const Request& request) -> std::optional<ScriptedReply> {
        if (request[0] != "EVALSHA" || kind_of(request) != "acquire") return std::nullopt;
        return ScriptedReply::error("NOSCRIPT No matching script.");  // it knows the release, though
    };
    world[0].round_trip = 20ms;
    world.put(1, "name", "another");
    world.put(2, "name", "another");
    ASSERT_FALSE(got(locks.try_lock("name", 10s)));
    for (int i = 0; i < 5; ++i) {
        world.clock.advance(50ms);
        ASSERT_TRUE(locks.try_lock("other", 10s));
    }
    EXPECT_FALSE(world.get(0, "name"));
}

// It would run after later requests, such as a shorter extension. The next request finds the script loaded.
TEST(Scripts, R23_an_extension_that_was_decided_without_the_node_is_not_healed) {
    World world{3};
    auto locks = connected_to(world, Options{});
    auto lock = locks.try_lock("name", 10s);
    ASSERT_TRUE(lock);
    ASSERT_TRUE(lock->extend(10s)) << "the others know the script";
    world.let_arrive();
    world[0].memory.flush_scripts();
    world[0].round_trip = 20ms;
    world.forget_handed();
    ASSERT_TRUE(lock->extend(20s));
    for (int i = 0; i < 3; ++i) {
        world.clock.advance(50ms);
        ASSERT_EQ(lock->nodes().size(), 3U) << "what the node says is heard";
    }
    EXPECT_EQ(count_of(world.handed_to(0, "extend"), "EVALSHA"), 1U);
    EXPECT_EQ(count_of(world.handed_to(0), "EVAL"), 0U);
    EXPECT_EQ(count_of(world.handed_to(0), "SCRIPT"), 1U);
}

TEST(Quorum, R24_two_uris_of_one_server_are_one_vote) {
    World world{3};
    world[1].info.run_id = world[0].info.run_id;
    auto locks = connect_to(world);
    const NodeReport report = report_of(locks, world, 1);
    EXPECT_EQ(report.vote, Vote::refused);
    EXPECT_NE(report.detail.find("same server"), std::string::npos) << report.detail;
    world.hang(2);
    EXPECT_FALSE(got(locks.try_lock("name", 10s))) << "one server of three is no quorum";
}

// DESIGN 10: "quorum counted over connected nodes".
TEST(Quorum, R24_is_counted_over_the_configured_nodes) {
    World world{5};
    auto locks = connected_to(world);
    for (std::size_t i = 0; i < 3; ++i) world.refuse(i);
    const auto lock = locks.try_lock("name", 10s);
    ASSERT_FALSE(lock);
    EXPECT_EQ(lock.error().code(), errc::unreachable);
    EXPECT_EQ(lock.error().nodes().size(), 5U);
}

// Both connections lead to one server, so its grant would count twice: two of three with one server left.
TEST(Quorum, R24_two_uris_of_one_server_are_one_vote_in_extensions_too) {
    World world{3};
    world[1].info.run_id = world[0].info.run_id;
    auto locks = connect_to(world);
    auto lock = locks.try_lock("name", 10s);
    ASSERT_TRUE(lock) << lock.error().message();
    world.let_arrive();
    world.put(1, "name", lock->token().str());  // the same server: the same key
    world.hang(2);
    EXPECT_FALSE(lock->extend(20s));
}

TEST(Quarantine, R25_a_node_that_restarted_a_short_while_ago_does_not_vote) {
    Options options = plain_options();
    options.restart_quarantine = 30s;
    World world{3};
    world[0].info.uptime = 5s;
    auto locks = connect_to(world, options);
    const NodeReport report = report_of(locks, world, 0);
    EXPECT_EQ(report.vote, Vote::quarantined);
    EXPECT_FALSE(report.detail.empty());
    EXPECT_TRUE(world.handed_to(0, "acquire").empty()) << "nothing to undo there";
    world.clock.advance(26s);
    EXPECT_EQ(report_of(locks, world, 0).vote, Vote::granted);
}

TEST(Quarantine, R25_another_run_id_counts_for_the_whole_time_whatever_uptime_says) {
    Options options = plain_options();
    options.restart_quarantine = 30s;
    World world{3};
    auto locks = connected_to(world, options);
    world.restart_empty(0);
    world[0].info.uptime = 365 * 24h;  // its wall clock jumped
    static_cast<void>(locks.try_lock("finds out", 10s));
    world.clock.advance(1s);
    EXPECT_EQ(report_of(locks, world, 0).vote, Vote::quarantined);
    world.clock.advance(28s);
    EXPECT_EQ(report_of(locks, world, 0).vote, Vote::quarantined);
    world.clock.advance(2s);
    EXPECT_EQ(report_of(locks, world, 0).vote, Vote::granted);
}

TEST(Quarantine, R25_a_reconnect_does_not_shorten_it_whatever_uptime_says_then) {
    Options options = plain_options();
    options.restart_quarantine = 30s;
    World world{3};
    auto locks = connected_to(world, options);
    world.restart_empty(0);
    static_cast<void>(locks.try_lock("finds out", 10s));
    world.clock.advance(1s);
    world.cut(0);
    world[0].info.uptime = 28s;  // its wall clock was set
    static_cast<void>(locks.try_lock("connects again", 10s));
    world.clock.advance(5s);
    EXPECT_EQ(report_of(locks, world, 0).vote, Vote::quarantined);
    world.clock.advance(20s);
    EXPECT_EQ(report_of(locks, world, 0).vote, Vote::quarantined);
    world.clock.advance(10s);
    EXPECT_EQ(report_of(locks, world, 0).vote, Vote::granted);
}

TEST(Quarantine, R25_it_still_takes_releases_and_extensions) {
    Options options = plain_options();
    options.restart_quarantine = 30s;
    World world{3};
    auto locks = connected_to(world, options);
    auto lock = locks.try_lock("name", 10s);
    ASSERT_TRUE(lock);
    world.let_arrive();
    world.cut(0);
    world[0].info.run_id = "another";  // with its keys: it has an append-only file
    static_cast<void>(locks.try_lock("finds out", 10s));
    world.clock.advance(1s);
    ASSERT_EQ(report_of(locks, world, 0).vote, Vote::quarantined);
    world.forget_handed();
    ASSERT_TRUE(lock->extend(10s));
    EXPECT_EQ(count_of(world.handed_to(0, "extend"), "EVALSHA"), 1U);
    ASSERT_TRUE(lock->unlock());
    world.let_arrive();
    EXPECT_FALSE(world.get(0, "name"));
}

// A missing permission must not switch off a quarantine that the user asked for.
TEST(Quarantine, R25_a_node_that_may_not_be_asked_does_not_vote) {
    Options options = plain_options();
    options.restart_quarantine = 30s;
    World world{3};
    world[0].info.run_id.clear();
    auto locks = connect_to(world, options);
    const NodeReport report = report_of(locks, world, 0);
    EXPECT_EQ(report.vote, Vote::quarantined);
    EXPECT_NE(report.detail.find("INFO"), std::string::npos) << report.detail;
    EXPECT_TRUE(world.handed_to(0, "acquire").empty()) << "nothing to undo there";
    world.clock.advance(1h);
    EXPECT_EQ(report_of(locks, world, 0).vote, Vote::quarantined) << "time tells nothing";
    world[0].info.run_id = "known at last";
    world.cut(0);
    static_cast<void>(locks.try_lock("finds out", 10s));
    world.clock.advance(1s);
    EXPECT_EQ(report_of(locks, world, 0).vote, Vote::granted);
}

TEST(Quarantine, R25_off_by_default) {
    World world{3};
    for (std::size_t i = 0; i < 3; ++i) world[i].info.uptime = 0s;
    world[1].info.run_id.clear();
    world[2].info.run_id.clear();
    auto locks = connect_to(world);
    EXPECT_TRUE(locks.try_lock("name", 10s));
}

// CASES 19: a server reports its uptime in truncated seconds, which may be up to one second too many.
TEST(Quarantine, R25_an_uptime_counts_a_second_less) {
    Options options = plain_options();
    options.restart_quarantine = 3s;
    World world{3};
    for (std::size_t i = 0; i < 3; ++i) world[i].info.uptime = 1s;  // it may have started just now
    auto locks = connect_to(world, options);
    ASSERT_FALSE(got(locks.try_lock("connects", 1s)));
    world.clock.advance(2900ms);
    EXPECT_FALSE(got(locks.try_lock("name", 1s)));
    world.clock.advance(100ms);
    EXPECT_TRUE(locks.try_lock("name", 1s));
}

// Else two would hold it: this client's clock is slewed to run fast, and the holder's is not.
TEST(Quarantine, R25_is_over_when_it_is_by_both_clocks) {
    struct Readings {
        LeaseClock::time_point point;
        [[nodiscard]] LeaseClock::time_point now() const { return point; }
    };
    const LeaseClock::time_point began{100s, 50s};
    detail::Eligibility<LeaseClock::time_point> eligibility;
    eligibility.on_up({.run_id = "a server"}, 10s, began);
    EXPECT_TRUE(eligibility.objection(Readings{{110s, 59s}}));
    EXPECT_TRUE(eligibility.objection(Readings{{109s, 60s}}));
    EXPECT_FALSE(eligibility.objection(Readings{{110s, 60s}}));
}

// The clock of a server was set back since it started, or far forward.
TEST(Quarantine, R25_is_never_longer_than_itself_whatever_a_server_says_of_its_uptime) {
    constexpr std::chrono::seconds wild[] = {-7200s, std::chrono::seconds::min()};
    for (const std::chrono::seconds uptime : wild) {
        Options options = plain_options();
        options.restart_quarantine = 30s;
        World world{3};
        world[0].info.uptime = uptime;
        auto locks = connect_to(world, options);
        EXPECT_EQ(report_of(locks, world, 0).vote, Vote::quarantined);
        world.clock.advance(30s);
        EXPECT_EQ(report_of(locks, world, 0).vote, Vote::granted);
    }
    Options options = plain_options();
    options.restart_quarantine = 30s;
    World world{3};
    world[0].info.uptime = std::chrono::seconds::max();
    auto locks = connect_to(world, options);
    EXPECT_EQ(report_of(locks, world, 0).vote, Vote::granted);
}

// Only the process counts: a clock that is set between two connections does not mean a restart.
TEST(Quarantine, R25_a_connection_to_the_same_process_makes_it_neither_shorter_nor_longer) {
    for (const std::chrono::seconds uptime : {std::chrono::seconds{365 * 24h}, -3600s}) {
        Options options = plain_options();
        options.restart_quarantine = 30s;
        World world{3};
        world[0].info.uptime = 5s;
        auto locks = connect_to(world, options);
        ASSERT_EQ(report_of(locks, world, 0).vote, Vote::quarantined);
        world[0].info.uptime = uptime;
        world.cut(0);
        static_cast<void>(locks.try_lock("finds out", 10s));
        world.clock.advance(1s);
        EXPECT_EQ(report_of(locks, world, 0).vote, Vote::quarantined);
        world.clock.advance(26s);
        EXPECT_EQ(report_of(locks, world, 0).vote, Vote::granted);
    }
}

// CASES 6 and 17.
TEST(Role, R25_a_node_that_is_not_a_master_does_not_vote) {
    World world{3};
    world[0].info.is_master = false;
    auto locks = connect_to(world);
    const NodeReport report = report_of(locks, world, 0);
    EXPECT_EQ(report.vote, Vote::refused);
    EXPECT_NE(report.detail.find("replica"), std::string::npos);
    EXPECT_TRUE(world.handed_to(0, "acquire").empty());
}

// CASES 21.
TEST(Role, R29_a_replica_is_asked_again_and_votes_soon_after_it_was_promoted) {
    World world{3};
    world[0].info.is_master = false;
    auto locks = connect_to(world);
    ASSERT_EQ(report_of(locks, world, 0).vote, Vote::refused);
    const std::size_t drops = world[0].drops;
    for (int i = 0; i < 20; ++i) ASSERT_TRUE(locks.try_lock("at once", 10s));
    EXPECT_LE(world[0].drops, drops + 2) << "with the backoff";
    world[0].info.is_master = true;
    world.clock.advance(world.backoff);
    ASSERT_TRUE(locks.try_lock("connects", 10s));
    EXPECT_EQ(report_of(locks, world, 0).vote, Vote::granted);
}

TEST(Role, R29_an_error_that_contradicts_what_the_node_said_ends_the_connection) {
    const std::string errors[] = {
        "READONLY You can't write against a read only replica.",
        "ERR Error running script (call to f_1): @user_script:9: @user_script: 9: -READONLY You can't write",
        "MOVED 3999 127.0.0.1:6381",
        "NOAUTH Authentication required.",
        "NOPERM this user has no permissions to run the 'evalsha' command",
        "ERR unknown command 'EVALSHA', with args beginning with: '1'",
        "ERR unknown command `EVAL`, with args beginning with: `return 1`, ",
        "NOPERM User worker has no permissions to run the 'eval' command",
    };
    for (const std::string& error : errors) {
        World world{3};
        auto locks = connected_to(world);
        world[0].says = [&](const Request&) { return ScriptedReply::error(error); };
        ASSERT_EQ(report_of(locks, world, 0).vote, Vote::refused) << error;
        EXPECT_GE(world[0].drops, 1U) << error;
        world[0].says = {};
        world.clock.advance(world.backoff);
        ASSERT_TRUE(locks.try_lock("connects", 10s));
        EXPECT_EQ(report_of(locks, world, 0).vote, Vote::granted) << error;
    }
}

TEST(Role, R29_other_errors_end_no_connection) {
    for (const char* error : {"OOM no memory", "NOPERM no permissions to run the 'set' command", "BUSY it is",
                              "LOADING it is", "NOREPLICAS not enough", "ERR READONLYish",
                              "NOPERM no permissions to access the 'evaluation' key"}) {
        World world{3};
        auto locks = connected_to(world);
        world[0].says = [&](const Request&) { return ScriptedReply::error(error); };
        ASSERT_EQ(report_of(locks, world, 0).vote, Vote::refused) << error;
        EXPECT_EQ(world[0].drops, 0U) << error;
    }
}

// Requests sent after the one with that answer are undecided, and their releases are pending.
TEST(Role, R29_what_was_under_way_when_a_reply_contradicted_is_undone_by_the_next_connection) {
    World world{3};
    auto locks = connected_to(world);
    auto lock = locks.try_lock("name", 10s);
    ASSERT_TRUE(lock);
    world.let_arrive();
    world[0].says = [](const Request& request) -> std::optional<ScriptedReply> {
        if (kind_of(request) != "release") return std::nullopt;
        return ScriptedReply::error("READONLY You can't write against a read only replica.");
    };
    ASSERT_TRUE(lock->unlock());
    for (int i = 0; i < 3; ++i) {
        world.clock.advance(10ms);
        ASSERT_TRUE(locks.try_lock("other", 10s));
    }
    ASSERT_TRUE(world.get(0, "name"));
    world[0].says = {};
    for (int i = 0; i < 5; ++i) {
        world.clock.advance(100ms);
        ASSERT_TRUE(locks.try_lock("other", 10s));
    }
    world.let_arrive();
    EXPECT_FALSE(world.get(0, "name"));
}

TEST(Rights, a_node_that_runs_no_scripts_grants_nothing) {
    World world{3};
    world[0].info.scripts = detail::Scripts::never;
    world[0].info.scripts_refusal = "NOPERM no scripts for you";
    auto locks = connect_to(world);
    const NodeReport report = report_of(locks, world, 0);
    EXPECT_EQ(report.vote, Vote::refused);
    EXPECT_NE(report.detail.find("scripts"), std::string::npos) << report.detail;
    EXPECT_TRUE(world.handed_to(0).empty());
    world[0].info.scripts = detail::Scripts::by_name;
    world.clock.advance(world.backoff);
    ASSERT_TRUE(locks.try_lock("connects", 10s));
    EXPECT_EQ(report_of(locks, world, 0).vote, Vote::granted) << "rights may be given later";
}

TEST(Rights, a_node_that_runs_scripts_by_their_text_alone_gets_the_text) {
    World world{3};
    for (std::size_t i = 0; i < 3; ++i) world[i].info.scripts = detail::Scripts::by_text;
    auto locks = connect_to(world, Options{});
    auto lock = locks.try_lock("name", 10s);
    ASSERT_TRUE(lock) << lock.error().message();
    EXPECT_TRUE(lock->extend(10s));
    EXPECT_TRUE(lock->unlock());
    EXPECT_EQ(count_of(world.handed(), "EVALSHA"), 0U);
    EXPECT_GE(count_of(world.handed(), "EVAL"), 9U);
}

// A login that could not ask about scripts says nothing of them, and rights change.
TEST(Rights, R29_a_node_that_turns_out_to_run_scripts_by_their_text_alone_gets_the_text) {
    for (const char* error : {"NOPERM this user has no permissions to run the 'evalsha' command",
                              "ERR unknown command 'EVALSHA', with args beginning with: '1'"}) {
        World world{3};
        world[0].says = [&](const Request& request) -> std::optional<ScriptedReply> {
            if (request[0] != "EVALSHA") return std::nullopt;
            return ScriptedReply::error(error);
        };
        auto locks = connect_to(world, Options{});
        for (int i = 0; i < 3; ++i) {
            auto lock = locks.try_lock("name", 10s);
            ASSERT_TRUE(lock) << lock.error().message();
            world.let_arrive();
            EXPECT_TRUE(world.get(0, "name")) << error;
            EXPECT_TRUE(lock->unlock());
            world.let_arrive();
            EXPECT_FALSE(world.get(0, "name")) << error;
        }
        EXPECT_EQ(world[0].drops, 0U);
        EXPECT_EQ(count_of(world.handed_to(0), "EVALSHA"), 1U) << "once";
    }
}

// CASES 22: the server of node 0 appears at the address of node 1, whose own server is gone.
TEST(Quorum, R24_a_server_that_moves_counts_where_it_is_up) {
    World world{3};
    auto locks = connected_to(world);
    const std::string moving = world[0].info.run_id;
    world.refuse(0);
    world.cut(1);
    world[1].info.run_id = moving;
    for (int i = 0; i < 3; ++i) {
        world.clock.advance(100ms);
        static_cast<void>(locks.try_lock("finds out", 10s));
    }
    EXPECT_TRUE(locks.try_lock("name", 10s)) << "nodes 1 and 2 are a quorum";
    world[0].info.run_id = "another server at the old address";
    world.resume(0);
    world.clock.advance(100ms);
    static_cast<void>(locks.try_lock("connects", 10s));
    EXPECT_EQ(report_of(locks, world, 0).vote, Vote::granted) << "both are right again";
    EXPECT_EQ(report_of(locks, world, 1).vote, Vote::granted);
}

// The name of node 0 led to another's server when it was connected. Both work, so neither connection ends.
TEST(Quorum, R24_a_name_that_was_wrong_once_is_not_wrong_for_ever) {
    World world{3};
    const std::string own = std::exchange(world[0].info.run_id, world[1].info.run_id);
    auto locks = connect_to(world);
    ASSERT_EQ(report_of(locks, world, 1).vote, Vote::refused);
    world[0].info.run_id = own;
    for (int i = 0; i < 30; ++i) {
        world.clock.advance(1s);
        ASSERT_TRUE(locks.try_lock("finds out", 10ms)) << "one of the two votes, always";
    }
    EXPECT_EQ(report_of(locks, world, 0).vote, Vote::granted);
    EXPECT_EQ(report_of(locks, world, 1).vote, Vote::granted);
}

// The node later in the list may connect first, and the votes on its requests count then.
TEST(Quorum, R24_the_first_lock_does_not_fail_over_which_of_two_uris_is_connected_first) {
    World world{3};
    world[0].connect_time = 100us;
    world[1].info.run_id = world[0].info.run_id;
    auto locks = connect_to(world);
    const auto lock = locks.try_lock("name", 10s);
    ASSERT_TRUE(lock) << lock.error().message();
    for (int i = 0; i < 3; ++i) {
        world.clock.advance(100ms);
        EXPECT_EQ(report_of(locks, world, 1).vote, Vote::refused);
        EXPECT_EQ(report_of(locks, world, 0).vote, Vote::granted);
    }
}

// A name leads to another node's server for a while: the pending releases stay for the node's own server.
TEST(Quorum, R24_what_is_pending_for_a_node_does_not_go_to_the_server_that_stands_in_for_it) {
    World world{3};
    HandDriven client{world};
    const auto lease = client.lock("name", {.ttl = 60s});
    ASSERT_TRUE(lease);
    ASSERT_TRUE(world.get(1, "name"));
    const std::string own = std::exchange(world[1].info.run_id, world[0].info.run_id);
    world.cut(1);
    client.pass(1ms);
    const auto finds_out = client.lock("finds out", {.ttl = 1s});
    const auto unlock = client.start_unlock(lease);
    client.pass(100ms);
    EXPECT_TRUE(unlock->is_done);
    EXPECT_TRUE(world.handed_to(1, "release").empty());
    EXPECT_GE(world[1].drops, 2U) << "it is looked up again and again";
    world[1].info.run_id = own;
    client.pass(100ms);
    EXPECT_FALSE(world.get(1, "name"));
}

// Within one round: node 0 granted and went down; its server must not grant again as node 1.
TEST(Quorum, R24_a_server_that_moves_during_a_round_has_one_vote_in_it) {
    World world{3};
    HandDriven client{world};
    const auto lease = client.lock("name", {.ttl = 10s});
    ASSERT_TRUE(lease);
    const auto first = client.start_extend(lease, 10s);  // so that the nodes know the script
    client.pass(10ms);
    world.hang(2);
    world[1].connect_time = 10ms;
    world[1].info.run_id = world[0].info.run_id;
    world.cut(1);
    client.pass(1ms);
    const std::size_t asked_before = world.handed_to(1, "extend").size();
    const auto extension = client.start_extend(lease, 20s);
    client.pass(2ms);
    ASSERT_FALSE(extension->is_done) << "node 0 has said yes, node 2 says nothing";
    world.refuse(0);
    client.pass(2 * Options{}.node_timeout);
    EXPECT_EQ(world.handed_to(1, "extend").size(), asked_before);
    ASSERT_TRUE(extension->is_done);
    EXPECT_FALSE(extension->task.take()) << "one server, asked twice";
}

TEST(Errors, R26_every_error_is_a_refusal_with_the_nodes_own_text) {
    const std::string errors[] = {
        "READONLY You can't write against a read only replica.",
        "LOADING Redis is loading the dataset in memory",
        "MASTERDOWN Link with MASTER is down",
        "OOM command not allowed when used memory > 'maxmemory'.",
        "NOAUTH Authentication required.",
        "NOPERM this user has no permissions",
        "ERR something that nobody has thought of",
    };
    for (const std::string& error : errors) {
        World world{3};
        auto locks = connected_to(world);
        world[0].says = [&](const Request&) { return ScriptedReply::error(error); };
        const NodeReport report = report_of(locks, world, 0);
        EXPECT_EQ(report.vote, Vote::refused);
        EXPECT_EQ(report.detail, error);
    }
}

// DESIGN 10: "'unable to achieve quorum' and nothing else".
TEST(Errors, R26_the_message_says_what_each_node_said) {
    World world{3};
    auto locks = connected_to(world);
    world[0].says = [](const Request&) { return ScriptedReply::error("OOM no memory"); };
    world.refuse(1);
    world.hang(2);
    const auto lock = locks.try_lock("orders/42", 10s);
    ASSERT_FALSE(lock);
    const std::string message = lock.error().message();
    for (const char* part : {"unreachable", "'orders/42'", "memory://0 refused (OOM no memory)",
                             "memory://1 unreachable", "memory://2"}) {
        EXPECT_NE(message.find(part), std::string::npos) << part << " is not in " << message;
    }
}

TEST(Errors, a_holder_is_told_from_nodes_that_do_not_answer) {
    World world{3};
    auto locks = connected_to(world, Options{});
    world.put(0, "name", "another", 7s);
    world.put(1, "name", "another", 9s);
    const auto lock = locks.try_lock("name", 10s);
    ASSERT_FALSE(lock);
    EXPECT_EQ(lock.error().code(), errc::contended);
    ASSERT_TRUE(lock.error().holder_remaining());
    EXPECT_GT(*lock.error().holder_remaining(), 8s) << "what the last of them has left";
    EXPECT_LE(*lock.error().holder_remaining(), 9s);
}

TEST(Errors, what_a_holder_has_left_is_none_where_no_node_says_it) {
    World world{3};
    auto locks = connected_to(world);  // the plain SET, whose denial is nil
    for (std::size_t i = 0; i < 3; ++i) world.put(i, "name", "another", 7s);
    const auto lock = locks.try_lock("name", 10s);
    ASSERT_FALSE(lock);
    EXPECT_FALSE(lock.error().holder_remaining());
    World silent{3};
    auto fenced = connected_to(silent, Options{});
    silent.hang(0);
    silent.hang(1);
    const auto unreachable = fenced.try_lock("name", 10s);
    ASSERT_FALSE(unreachable);
    EXPECT_FALSE(unreachable.error().holder_remaining());
}

// Such a key never expires, which is not the same as 0 ms.
TEST(Errors, a_key_without_a_ttl_has_no_time_left_and_its_node_says_so) {
    World world{3};
    auto locks = connected_to(world, Options{});
    world.put(0, "name", "another", 7s);
    world.put(1, "name", "another", 9s);
    world[1].memory.persist("name");
    const auto lock = locks.try_lock("name", 10s);
    ASSERT_FALSE(lock);
    EXPECT_EQ(lock.error().code(), errc::contended);
    EXPECT_FALSE(lock.error().holder_remaining());
    EXPECT_EQ(lock.error().nodes().at(0).detail, "");
    EXPECT_NE(lock.error().nodes().at(1).detail.find("no ttl"), std::string::npos) << lock.error().message();
}

}  // namespace
}  // namespace redlock::test

// SPDX-License-Identifier: Apache-2.0
// When a waiter tries again without a notice, over nodes in memory, where nothing is published.
#include <gtest/gtest.h>

#include <cstddef>
#include <optional>
#include <string>
#include <vector>

#include "unit/hand_driven.hpp"
#include "unit/scripted_world.hpp"

namespace redlock::test {
namespace {

Options calling() {
    Options options = plain_options();
    options.notify = true;
    return options;
}

// Nodes whose holders publish no notice.
struct Uncalled {
    explicit Uncalled(const Options& options = calling()) : client{hearing(world), options} {}

    static World& hearing(World& world) {
        world.hears = true;
        return world;
    }
    void hold(const std::string& by, std::chrono::milliseconds ttl, const std::string& what = "name") {
        for (std::size_t i = 0; i < world.size(); ++i) world.put(i, what, by, ttl);
    }
    void give_up(const std::string& what = "name") {
        for (std::size_t i = 0; i < world.size(); ++i) world.erase(i, what);
    }
    // How long it takes to get the lock; at most the given time.
    template <class Waiter>
    Nanoseconds until_done(const Waiter& waiter, Nanoseconds most) {
        const auto began = world.clock.now();
        while (!waiter->is_done && world.clock.now() - began < most) client.pass(1ms);
        return world.clock.now() - began;
    }
    [[nodiscard]] std::size_t attempts() const { return world.handed_to(0, "acquire").size(); }

    World world{3};
    HandDriven client;
};

template <class Waiter>
bool got_it(const Waiter& waiter) {
    return waiter->is_done && waiter->task.take();
}

// A waiter enters the queues as soon as its subscriptions exist, not after its first delay.
TEST(WaitingLooks, R8_who_would_try_again_much_later_can_be_notified_before) {
    Options options = calling();
    options.retry.decide = [](std::uint32_t, const Failure&) { return 10s; };
    Uncalled nodes{options};
    nodes.world.hears = false;
    nodes.hold("another", 1h);
    const auto waiter = nodes.client.start_lock("name", {.wait = forever});
    nodes.client.pass(3ms);
    EXPECT_EQ(nodes.world.handed_to(0, "enlist").size(), 0U);
    nodes.world.hears = true;
    nodes.client.pass(10ms);
    EXPECT_GE(nodes.world.handed_to(0, "enlist").size(), 1U);
    EXPECT_EQ(nodes.attempts(), 1U) << "and nothing else is asked";
    nodes.give_up();
    nodes.until_done(waiter, 20s);
    EXPECT_TRUE(got_it(waiter));
}

// The reply to a plain SET does not say how long the holder has left; the reply to an enlist does.
TEST(WaitingLooks, at_the_end_of_the_holders_lease_with_fencing_and_without) {
    for (const bool fencing : {false, true}) {
        Options options = calling();
        options.fencing = fencing;
        Uncalled nodes{options};
        nodes.hold("another", 200ms);
        const auto waiter = nodes.client.start_lock("name", {.wait = 10s});
        EXPECT_LT(nodes.until_done(waiter, 5s), 215ms) << fencing;
        EXPECT_TRUE(got_it(waiter)) << fencing;
    }
}

// One node of five has a leftover key with a long ttl: it does not matter.
TEST(WaitingLooks, at_the_time_at_which_a_quorum_will_be_free) {
    Uncalled nodes;
    nodes.hold("another", 200ms);
    nodes.world.put(2, "name", "left over", 1h);
    const auto waiter = nodes.client.start_lock("name", {.wait = 10s});
    EXPECT_LT(nodes.until_done(waiter, 5s), 215ms);
    EXPECT_TRUE(got_it(waiter));
}

// The waiter that has waited longest comes first also without a notice: its attempt ends before the next
// one begins.
TEST(WaitingLooks, one_after_the_other_when_a_lease_ends_that_nobody_released) {
    constexpr Nanoseconds round = 2ms;
    std::vector<Nanoseconds> looks;
    for (const std::int64_t rank : {0, 1, 2, 1000}) {
        Uncalled nodes;
        nodes.hold("another", 200ms);
        for (std::size_t i = 0; i < 3; ++i) {
            nodes.world[i].round_trip = round;
            nodes.world[i].says = [rank](const Request& request) -> std::optional<ScriptedReply> {
                if (kind_of(request) != "enlist") return std::nullopt;
                return ScriptedReply::list({1, 200, rank, 7});
            };
        }
        const auto waiter = nodes.client.start_lock("name", {.wait = 10s});
        looks.push_back(nodes.until_done(waiter, 1s));
        EXPECT_TRUE(got_it(waiter));
    }
    EXPECT_GT(looks[1], looks[0] + round);
    EXPECT_GT(looks[2], looks[1] + round);
    EXPECT_LT(looks[3], 500ms) << "no longer than that, however many are before it";
}

// Once 11 of 12 waits of 3 s failed although the lock had been free for 1.1 s: the first tried only at its
// end.
TEST(WaitingLooks, while_there_is_time_left_for_those_behind) {
    for (const auto first_wait : {3s, 7s, 3600s}) {
        const auto wait = first_wait == 7s ? 7s : 3s;
        Uncalled nodes;
        nodes.hold("another", 1h);
        const auto first = nodes.client.start_lock("name", {.wait = first_wait});
        const auto second = nodes.client.start_lock("name", {.wait = wait});
        nodes.client.pass(wait - 1100ms);
        nodes.give_up();
        nodes.until_done(first, 1s);
        ASSERT_TRUE(first->is_done) << first_wait.count();
        auto held = first->task.take();
        ASSERT_TRUE(held) << first_wait.count();
        const auto unlock = nodes.client.start_unlock(*held);
        nodes.until_done(second, 1s);
        EXPECT_TRUE(got_it(second)) << first_wait.count();
    }
}

// Once 3 to 5 of 12 waits of 5 s failed beside clients that poll, none of which failed.
TEST(WaitingLooks, R8_by_the_retry_policy_once_the_holder_has_changed_without_a_call) {
    Uncalled nodes;
    nodes.world.jitter = 255;
    nodes.hold("another", 1h);
    const auto waiter = nodes.client.start_lock("name", {.wait = forever});
    nodes.client.pass(50ms);
    nodes.hold("a third", 1h);
    nodes.client.pass(700ms);  // one attempt, which finds it
    nodes.world.forget_handed();
    nodes.client.pass(5s);
    EXPECT_GE(nodes.attempts(), 9U) << "cap is 500 ms";
    nodes.give_up();
    EXPECT_LE(nodes.until_done(waiter, 5s), 510ms);
    EXPECT_TRUE(got_it(waiter));
    nodes.hold("another", 1h);
    nodes.world.forget_handed();
    const auto next = nodes.client.start_lock("name", {.wait = forever});
    nodes.client.pass(5s);
    EXPECT_GE(nodes.attempts(), 9U) << "it is remembered for those who wait later";
    nodes.give_up();
    nodes.until_done(next, 5s);
    EXPECT_TRUE(got_it(next));
}

TEST(WaitingLooks, R8_soon_and_then_less_often_beside_a_holder_that_stays) {
    Uncalled nodes;
    nodes.hold("another", 1h);
    const auto waiter = nodes.client.start_lock("name", {.wait = forever});
    nodes.client.pass(600ms);
    EXPECT_GE(nodes.attempts(), 2U);
    nodes.client.pass(5s);
    nodes.world.forget_handed();
    nodes.client.pass(20s);
    EXPECT_LE(nodes.attempts(), 11U);
    EXPECT_GE(nodes.attempts(), 9U);
    nodes.give_up();
    nodes.until_done(waiter, 5s);
    EXPECT_TRUE(got_it(waiter));
}

// RetryPolicy::decide is documented as the delay before the next attempt.
TEST(WaitingLooks, R8_when_the_users_own_policy_says_so) {
    Options options = calling();
    options.retry.decide = [](std::uint32_t, const Failure&) { return std::optional{70ms}; };
    Uncalled nodes{options};
    nodes.hold("another", 1h);
    const auto waiter = nodes.client.start_lock("name", {.wait = forever});
    nodes.client.pass(50ms);
    nodes.world.forget_handed();
    nodes.client.pass(750ms);
    EXPECT_GE(nodes.attempts(), 9U);
    EXPECT_LE(nodes.attempts(), 11U);
    nodes.give_up();
    EXPECT_LE(nodes.until_done(waiter, 5s), 80ms);
    EXPECT_TRUE(got_it(waiter));
}

// Once a waiter failed after 15 s although the lock was free.
TEST(WaitingLooks, R8_while_this_process_holds_it_for_an_end_that_comes_nearer) {
    Uncalled nodes;
    const auto held = nodes.client.lock("name", {.ttl = 60s});
    ASSERT_TRUE(held);
    const auto waiter = nodes.client.start_lock("name", {.wait = 15s});
    nodes.client.pass(10ms);
    const auto first = nodes.client.start_lock("name", {.wait = 100ms});  // so that the holder is known
    nodes.client.pass(200ms);
    ASSERT_TRUE(first->is_done);
    const auto extension = nodes.client.start_extend(held, 100ms);
    EXPECT_LE(nodes.until_done(waiter, 20s), 1s);
    EXPECT_TRUE(got_it(waiter));
}

TEST(WaitingLooks, R8_while_what_this_process_got_before_it_comes_to_an_early_end) {
    Uncalled nodes;
    nodes.hold("another", 50ms);
    const auto first = nodes.client.start_lock("name", {.ttl = 60s, .wait = 10s});
    const auto second = nodes.client.start_lock("name", {.ttl = 60s, .wait = 15s});
    nodes.until_done(first, 1s);
    ASSERT_TRUE(first->is_done);
    const auto held = first->task.take().value();
    nodes.client.pass(50ms);
    const auto extension = nodes.client.start_extend(held, 100ms);
    EXPECT_LE(nodes.until_done(second, 20s), 1s);
    EXPECT_TRUE(got_it(second));
}

TEST(WaitingLooks, R8_no_later_than_it_is_to_put_up_with_silent_nodes) {
    Options options = calling();
    options.retry = {.base = 3s, .cap = 3s, .multiplier = 1.0};
    options.node_timeout = 50ms;
    Uncalled nodes{options};
    nodes.world.jitter = 255;
    for (std::size_t i = 0; i < 3; ++i) nodes.world.hang(i);
    const auto waiter = nodes.client.start_lock("name", {.wait = 10s, .wait_unreachable = 100ms});
    const auto behind = nodes.client.start_lock("name", {.wait = 10s, .wait_unreachable = 300ms});
    EXPECT_LE(nodes.until_done(waiter, 5s), 155ms);
    ASSERT_TRUE(waiter->is_done);
    EXPECT_EQ(waiter->task.take().error().code(), errc::unreachable);
    EXPECT_LE(nodes.until_done(behind, 5s), 255ms);
    ASSERT_TRUE(behind->is_done);
    EXPECT_EQ(behind->task.take().error().code(), errc::unreachable);
}

// Where a holder is waited for, the nodes are not silent: they are not asked. With 0 the first contended
// attempt was the last, and with 1 ms there were 374 attempts in 700 ms.
TEST(WaitingLooks, R8_silence_is_counted_from_an_attempt_that_nobody_answers) {
    for (const auto limit : {0ms, 1ms}) {
        Uncalled nodes;
        nodes.hold("another", 1h);
        const auto waiter = nodes.client.start_lock("name", {.wait = 10s, .wait_unreachable = limit});
        const auto behind = nodes.client.start_lock("name", {.wait = 10s, .wait_unreachable = limit});
        nodes.client.pass(700ms);
        EXPECT_FALSE(waiter->is_done || behind->is_done) << limit.count();
        EXPECT_LE(nodes.attempts(), 4U);
        for (std::size_t i = 0; i < 3; ++i) nodes.world.hang(i);
        EXPECT_LE(nodes.until_done(waiter, 5s), 1s + plain_options().node_timeout) << "at its next look";
        ASSERT_TRUE(waiter->is_done);
        EXPECT_EQ(waiter->task.take().error().code(), errc::unreachable);
        EXPECT_LE(nodes.until_done(behind, 5s), plain_options().node_timeout + 1ms);
        ASSERT_TRUE(behind->is_done);
        EXPECT_EQ(behind->task.take().error().code(), errc::unreachable);
    }
}

// It waits behind a waiter with a long wait.
TEST(WaitingLooks, R8_who_is_not_first_puts_up_with_silent_nodes_no_longer_either) {
    Uncalled nodes;
    nodes.hold("another", 1h);
    for (std::size_t i = 0; i < 3; ++i) nodes.world.hang(i);
    const auto first = nodes.client.start_lock("name", {.wait = 20s});
    const auto behind = nodes.client.start_lock("name", {.wait = 20s, .wait_unreachable = 100ms});
    EXPECT_LE(nodes.until_done(behind, 25s), 105ms);
    ASSERT_TRUE(behind->is_done);
    EXPECT_EQ(behind->task.take().error().code(), errc::unreachable);
    nodes.until_done(first, 25s);
    EXPECT_TRUE(first->is_done);
}

// A waiter that leaves at once does not keep those behind it from learning that the nodes do not answer.
TEST(WaitingLooks, R8_all_who_are_not_first_are_told_of_silent_nodes) {
    Uncalled nodes;
    nodes.hold("another", 1h);
    const auto first = nodes.client.start_lock("name", {.wait = 20s});
    nodes.client.pass(10ms);
    for (std::size_t i = 0; i < 3; ++i) nodes.world.hang(i);
    const auto second = nodes.client.start_lock("name", {.wait = 20s, .wait_unreachable = 0ms});
    const auto third = nodes.client.start_lock("name", {.wait = 20s, .wait_unreachable = 0ms});
    const auto fourth = nodes.client.start_lock("name", {.wait = 20s, .wait_unreachable = 0ms});
    nodes.until_done(second, 5s);
    EXPECT_TRUE(second->is_done && third->is_done && fourth->is_done);
    EXPECT_FALSE(first->is_done);
}

// Every 16th time that a resource is handed over in a process, the waiter there yields to others, and enters
// the queues behind them, in which it may be already.
TEST(WaitingLooks, a_notice_for_one_that_entered_twice_and_has_left_is_ignored) {
    Uncalled nodes;
    const auto lease = nodes.client.lock("name", {});
    nodes.hold("another", 1h);
    auto waiter = nodes.client.start_lock("name", {.wait = 100s});
    for (int i = 0; i < 17; ++i) {
        const auto unlock = nodes.client.start_unlock(lease);
        nodes.client.pass(20ms);
    }
    EXPECT_GT(nodes.world.handed_to(0, "enlist").size(), nodes.world.handed_to(0, "delist").size() + 1);
    nodes.give_up();
    nodes.until_done(waiter, 20s);
    EXPECT_TRUE(got_it(waiter));
    waiter.reset();
    for (int number = 0; number < 100; ++number) nodes.client.notify(0, std::to_string(number) + " name");
    nodes.client.pass(1ms);
}

// Once a wait of 700 ms ended after 401 ms.
TEST(WaitingLooks, R8_until_the_end_of_its_wait_where_nodes_hang) {
    Options options = calling();
    options.node_timeout = 300ms;
    Uncalled nodes{options};
    nodes.world.jitter = 0;
    for (std::size_t i = 0; i < 3; ++i) nodes.world.hang(i);
    const auto waiter = nodes.client.start_lock("name", {.wait = 700ms});
    nodes.client.pass(650ms);  // two attempts
    for (std::size_t i = 0; i < 3; ++i) nodes.world.resume(i);
    nodes.client.pass(51ms);
    EXPECT_TRUE(got_it(waiter));
}

// The timer for it came late.
TEST(WaitingLooks, R8_a_last_time_also_where_its_timer_is_late) {
    Uncalled nodes;
    nodes.hold("another", 1h);
    const auto waiter = nodes.client.start_lock("name", {.wait = 1s});
    nodes.client.pass(980ms);
    nodes.give_up();
    nodes.world.clock.advance(17ms);
    nodes.client.pass(2ms);
    EXPECT_TRUE(got_it(waiter));
}

// Attempts that split the votes and are undone are not holders that publish no notice. When contenders took
// them for such holders and polled, none got a quorum for as long as two of five nodes hung.
TEST(WaitingLooks, R8_soon_and_then_less_often_beside_attempts_that_split_the_votes) {
    Uncalled nodes;
    const auto waiter = nodes.client.start_lock("name", {.wait = forever});
    for (int turn = 0; turn < 200; ++turn) {
        for (std::size_t i = 0; i < nodes.world.size(); ++i) {
            nodes.world.erase(i, "name");
            nodes.world.put(i, "name", std::to_string(turn) + "/" + std::to_string(i), 2s);
        }
        nodes.client.pass(20ms);
    }
    EXPECT_LE(nodes.attempts(), 8U);
}

// "a\0b" is one name, and "a", "b" are two.
TEST(WaitingLooks, a_name_may_have_a_zero_byte_and_is_not_two_names) {
    Uncalled nodes;
    nodes.hold("another", 1h, "a");
    const auto both = nodes.client.start_lock_all({"a", "b"}, {.wait = forever});
    nodes.client.pass(20ms);
    const auto one = nodes.client.start_lock(std::string{"a\0b", 3}, {.wait = forever});
    nodes.client.pass(20ms);
    EXPECT_TRUE(got_it(one));
    nodes.give_up("a");
    nodes.until_done(both, 5s);
    EXPECT_TRUE(got_it(both));
}

}  // namespace
}  // namespace redlock::test

// SPDX-License-Identifier: Apache-2.0
// The lease: when it is held, and what extensions and releases may do to it.
#include <gtest/gtest.h>

#include <memory>
#include <string>

#include "redlock/algorithm/lease.hpp"
#include "unit/scripted_world.hpp"

namespace redlock::test {
namespace {

using detail::ExtensionStart;
using detail::Hold;
using Time = ManualClock::time_point;
using Lease = detail::Lease<Time>;
using Extension = detail::Extension<Time>;

Time at(Nanoseconds since_start) { return Time{1h + since_start}; }

// Where an extension puts the end: the drift is rounded up to the next nanosecond.
Time new_end(Nanoseconds since_start) { return at(since_start - 1ns); }

Options without_drift() {
    Options options;
    options.drift_factor = 0;
    options.drift_floor = 0ms;
    return options;
}

ExtensionStart begin(Lease& lease, Extension& extension, Nanoseconds since_start) {
    return lease.begin_extension(extension, at(since_start), without_drift());
}

// Requested at that time, for one second.
Extension extension_by(std::chrono::milliseconds ttl, Nanoseconds since_start) {
    return {ttl, at(since_start), at(since_start + 1s)};
}

// As a waiter whose turn has come.
ExtensionStart begin_in_queue(Lease& lease, Extension& extension, Nanoseconds since_start) {
    extension.in_queue = detail::make_ref<detail::Suspended<Time>>(extension.latest);
    lease.enqueue(extension.in_queue);
    EXPECT_EQ(lease.next_extension(), extension.in_queue);
    return begin(lease, extension, since_start);
}

std::unique_ptr<Lease> lease_until(Nanoseconds end) {
    auto claim = detail::make_ref<detail::Claim>();
    claim->resources = {"name"};
    return std::make_unique<Lease>(std::move(claim), Token::parse("token"), std::vector<std::int64_t>{},
                                   nullptr, at(0s), at(end));
}

TEST(Lease, is_held_until_its_validity_ends) {
    const auto lease = lease_until(10s);
    EXPECT_EQ(lease->remaining(at(4s)), 6s);
    EXPECT_GT(lease->remaining(at(10s - 1ns)), 0ns);
    EXPECT_LE(lease->remaining(at(10s)), 0ns);
    EXPECT_LE(lease->remaining(at(11s)), 0ns);
}

TEST(Lease, an_extension_that_carried_in_time_moves_the_end) {
    const auto lease = lease_until(10s);
    auto extension = extension_by(20s, 5s);
    ASSERT_EQ(begin(*lease, extension, 5s), ExtensionStart::begun);
    EXPECT_EQ(lease->valid_until(), at(10s)) << "not before it is carried";
    EXPECT_TRUE(lease->end_extension(extension, true, at(6s)));
    EXPECT_EQ(lease->valid_until(), new_end(25s));
}

TEST(Lease, R10_an_extension_that_was_not_carried_or_came_too_late_moves_nothing) {
    const auto lease = lease_until(10s);
    auto first = extension_by(20s, 5s);
    ASSERT_EQ(begin(*lease, first, 5s), ExtensionStart::begun);
    EXPECT_FALSE(lease->end_extension(first, false, at(6s)));
    EXPECT_EQ(lease->next_extension(), nullptr);
    EXPECT_EQ(lease->valid_until(), at(10s));
    auto second = extension_by(20s, 9s);
    ASSERT_EQ(begin(*lease, second, 9s), ExtensionStart::begun);
    EXPECT_FALSE(lease->end_extension(second, true, at(10s)));
    EXPECT_EQ(lease->valid_until(), at(10s));
}

TEST(Lease, R10_a_sooner_end_counts_from_before_the_send_whatever_comes_back) {
    for (const bool carried : {true, false}) {
        const auto lease = lease_until(10s);
        auto extension = extension_by(2s, 5s);
        ASSERT_EQ(begin(*lease, extension, 5s), ExtensionStart::begun);
        EXPECT_TRUE(extension.is_sooner);
        EXPECT_EQ(lease->valid_until(), new_end(7s));
        EXPECT_EQ(lease->end_extension(extension, carried, at(6s)), carried);
        EXPECT_EQ(lease->valid_until(), new_end(7s));
    }
}

// Of two requests in flight at once, it is unknown which one a node runs last.
TEST(Lease, R33_one_extension_is_under_way_at_a_time) {
    const auto lease = lease_until(10s);
    auto first = extension_by(20s, 5s);
    auto second = extension_by(30s, 5s);
    ASSERT_EQ(begin(*lease, first, 5s), ExtensionStart::begun);
    EXPECT_EQ(begin(*lease, second, 5s), ExtensionStart::busy);
    EXPECT_EQ(lease->next_extension(), nullptr) << "the first has not ended";
    EXPECT_TRUE(lease->end_extension(first, true, at(5s)));
    EXPECT_EQ(begin(*lease, second, 5s), ExtensionStart::busy) << "those in the queue come before";
    EXPECT_EQ(lease->next_extension(), nullptr);
    EXPECT_EQ(begin(*lease, second, 5s), ExtensionStart::begun);
}

TEST(Lease, R33_the_turn_goes_to_the_first_in_line_and_on_from_one_that_does_not_take_it) {
    const auto lease = lease_until(10s);
    auto first = extension_by(20s, 5s);
    ASSERT_EQ(begin(*lease, first, 5s), ExtensionStart::begun);
    auto second = extension_by(30s, 5s);
    auto third = extension_by(40s, 5s);
    second.in_queue = detail::make_ref<detail::Suspended<Time>>(second.latest);
    third.in_queue = detail::make_ref<detail::Suspended<Time>>(third.latest);
    lease->enqueue(second.in_queue);
    lease->enqueue(third.in_queue);
    EXPECT_TRUE(lease->end_extension(first, true, at(5s)));
    EXPECT_EQ(lease->next_extension(), second.in_queue);
    auto late = extension_by(50s, 5s);
    EXPECT_EQ(begin(*lease, late, 5s), ExtensionStart::busy) << "the turn is offered, but to another";
    EXPECT_EQ(begin(*lease, second, 6s), ExtensionStart::busy) << "its time is over";
    EXPECT_EQ(lease->next_extension(), third.in_queue);
    EXPECT_EQ(begin(*lease, third, 5500ms), ExtensionStart::begun);
    EXPECT_EQ(third.started, at(5500ms)) << "and not when it was asked for";
    EXPECT_EQ(lease->next_extension(), nullptr);
    EXPECT_TRUE(lease->end_extension(third, true, at(5600ms)));
    EXPECT_EQ(lease->valid_until(), new_end(45500ms));
}

TEST(Lease, R33_of_two_that_ask_for_the_same_one_serves_both_where_it_was_begun_after_both_asked) {
    for (const bool is_in_time : {true, false}) {
        const auto lease = lease_until(10s);
        auto first = extension_by(20s, 5s);
        ASSERT_EQ(begin(*lease, first, 5s), ExtensionStart::begun);
        auto second = extension_by(20s, is_in_time ? 5s : 5s + 1ns);
        EXPECT_TRUE(lease->end_extension(first, true, at(5100ms)));
        EXPECT_EQ(begin_in_queue(*lease, second, 5100ms),
                  is_in_time ? ExtensionStart::needless : ExtensionStart::begun);
    }
}

TEST(Lease, R33_none_is_served_by_one_that_was_begun_before_it_asked) {
    const auto lease = lease_until(10s);
    auto first = extension_by(20'100ms, 5s);
    ASSERT_EQ(begin(*lease, first, 5s), ExtensionStart::begun);
    auto second = extension_by(20s, 5050ms);
    EXPECT_TRUE(lease->end_extension(first, true, at(5150ms)));
    EXPECT_EQ(begin_in_queue(*lease, second, 5200ms), ExtensionStart::begun) << "though it lasts long enough";
}

TEST(Lease, R33_none_is_served_by_one_that_failed_or_asked_for_less_or_for_more) {
    for (const auto ttl : {19s, 20s, 21s}) {
        const auto lease = lease_until(10s);
        auto first = extension_by(ttl, 5s);
        ASSERT_EQ(begin(*lease, first, 5s), ExtensionStart::begun);
        auto second = extension_by(20s, 5s);
        EXPECT_EQ(lease->end_extension(first, ttl != 20s, at(5100ms)), ttl != 20s);
        EXPECT_EQ(begin_in_queue(*lease, second, 5100ms), ExtensionStart::begun);
        EXPECT_EQ(second.is_sooner, ttl == 21s);
    }
}

TEST(Lease, R33_a_renewal_asks_for_what_it_gives_when_its_turn_has_come) {
    const auto lease = lease_until(10s);
    lease->renewal = {10s, at(20s)};
    auto first = extension_by(12s, 5s);
    ASSERT_EQ(begin(*lease, first, 5s), ExtensionStart::begun);
    Extension renewal{std::nullopt, at(5s), at(6s)};
    EXPECT_TRUE(lease->end_extension(first, true, at(5s)));
    EXPECT_EQ(begin_in_queue(*lease, renewal, 5s), ExtensionStart::needless) << "it would shorten";
    EXPECT_EQ(lease->next_extension(), nullptr);
    EXPECT_EQ(lease->valid_until(), new_end(17s));
    Extension next{std::nullopt, at(12s), at(13s)};
    ASSERT_EQ(begin(*lease, next, 12s), ExtensionStart::begun);
    EXPECT_EQ(next.ttl, 8s) << "up to its limit";
    EXPECT_FALSE(next.is_sooner);
}

TEST(Lease, extensions_one_after_the_other_do_not_touch_each_other) {
    const auto lease = lease_until(10s);
    auto shorter = extension_by(4s, 5s);
    ASSERT_EQ(begin(*lease, shorter, 5s), ExtensionStart::begun);
    ASSERT_TRUE(lease->end_extension(shorter, true, at(6s)));
    EXPECT_EQ(lease->next_extension(), nullptr);
    auto longer = extension_by(20s, 6s);
    ASSERT_EQ(begin(*lease, longer, 6s), ExtensionStart::begun);
    EXPECT_TRUE(lease->end_extension(longer, true, at(7s)));
    EXPECT_EQ(lease->valid_until(), new_end(26s));
}

TEST(Lease, R13_after_a_release_has_begun_nothing_extends) {
    const auto lease = lease_until(10s);
    auto under_way = extension_by(20s, 5s);
    ASSERT_EQ(begin(*lease, under_way, 5s), ExtensionStart::begun);
    EXPECT_EQ(lease->begin_release(at(6s)), Hold::held);
    EXPECT_FALSE(lease->end_extension(under_way, true, at(6s)));
    EXPECT_EQ(lease->next_extension(), nullptr);
    auto later = extension_by(20s, 7s);
    EXPECT_EQ(begin(*lease, later, 7s), ExtensionStart::over);
    EXPECT_LE(lease->remaining(at(7s)), 0ns);
    EXPECT_FALSE(lease->lock_if_held());
}

TEST(Lease, only_the_first_release_sees_it_held) {
    const auto lease = lease_until(10s);
    EXPECT_EQ(lease->begin_release(at(5s)), Hold::held);
    EXPECT_EQ(lease->begin_release(at(5s)), Hold::released);
    const auto expired = lease_until(10s);
    EXPECT_EQ(expired->begin_release(at(10s)), Hold::lost);
    EXPECT_EQ(expired->begin_release(at(10s)), Hold::released);
}

TEST(Lease, lost_stays_lost_and_nothing_extends_it) {
    const auto lease = lease_until(10s);
    const auto token = lease->lost_token();
    lease->lose();
    EXPECT_LE(lease->remaining(at(1s)), 0ns);
    EXPECT_FALSE(token.stop_requested()) << "whoever watches it tells";
    lease->tell_lost();
    EXPECT_TRUE(token.stop_requested());
    auto extension = extension_by(20s, 2s);
    EXPECT_EQ(begin(*lease, extension, 2s), ExtensionStart::over);
    EXPECT_EQ(lease->begin_release(at(3s)), Hold::lost);
}

TEST(Lease, lost_asked_for_after_the_loss_is_triggered_already) {
    const auto lease = lease_until(10s);
    lease->lose();
    lease->tell_lost();
    EXPECT_TRUE(lease->lost_token().stop_requested());
}

TEST(Lease, a_callback_of_lost_may_look_at_the_lease) {
    const auto lease = lease_until(10s);
    Hold seen = Hold::held;
    const std::stop_callback callback{lease->lost_token(), [&] { seen = lease->hold(); }};
    lease->lose();
    lease->tell_lost();
    EXPECT_EQ(seen, Hold::lost);
}

// Found by the simulator: an extension gained time by the clock that ran ahead, and lost time by the other.
TEST(Lease, R33_a_renewal_gains_by_either_reading_of_the_clock_or_is_not_made) {
    using Point = LeaseClock::time_point;
    auto claim = detail::make_ref<detail::Claim>();
    claim->resources = {"name"};
    const Point acquired{1h, 1h};
    detail::Lease<Point> lease{std::move(claim), Token::parse("token"), {}, nullptr,
                               acquired,         acquired + 10s};
    lease.renewal = {10s, acquired + 12s};
    const Point even{1h + 1s, 1h + 1s};
    EXPECT_TRUE(lease.renewal_ttl(even, without_drift()));
    const Point ahead{1h + 1s, 1h + 5s};  // by this one the limit is 7 s away
    EXPECT_FALSE(lease.renewal_ttl(ahead, without_drift()));
}

}  // namespace
}  // namespace redlock::test

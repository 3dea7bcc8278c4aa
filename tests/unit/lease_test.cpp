// The lease: when it is held, and what extensions and releases that overlap may do to it.
#include <gtest/gtest.h>

#include <memory>
#include <string>

#include "redlock/core/lease.hpp"
#include "unit/scripted_world.hpp"

namespace redlock::test {
namespace {

using detail::Hold;
using Time = ManualClock::time_point;
using Lease = detail::Lease<Time>;

Time at(Nanoseconds since_start) { return Time{1h + since_start}; }

std::unique_ptr<Lease> lease_until(Nanoseconds end) {
    auto claim = std::make_shared<detail::Claim>();
    claim->resources = {"name"};
    return std::make_unique<Lease>(std::move(claim), Token::parse("token"), std::vector<std::int64_t>{},
                                   nullptr, 10s, at(0s), at(end));
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
    Lease::Extension extension{at(25s)};
    ASSERT_TRUE(lease->begin_extension(extension, 20s, at(5s)));
    EXPECT_EQ(lease->valid_until(), at(10s)) << "not before it is carried";
    EXPECT_TRUE(lease->end_extension(extension, true, at(6s)));
    EXPECT_EQ(lease->valid_until(), at(25s));
    EXPECT_EQ(lease->longest_ttl(), 20s);
}

TEST(Lease, R10_an_extension_that_was_not_carried_or_came_too_late_moves_nothing) {
    const auto lease = lease_until(10s);
    Lease::Extension first{at(25s)};
    ASSERT_TRUE(lease->begin_extension(first, 20s, at(5s)));
    EXPECT_FALSE(lease->end_extension(first, false, at(6s)));
    EXPECT_EQ(lease->valid_until(), at(10s));
    Lease::Extension second{at(29s)};
    ASSERT_TRUE(lease->begin_extension(second, 20s, at(9s)));
    EXPECT_FALSE(lease->end_extension(second, true, at(10s)));
    EXPECT_EQ(lease->valid_until(), at(10s));
}

TEST(Lease, R10_a_sooner_end_counts_from_before_the_send_whatever_comes_back) {
    for (const bool carried : {true, false}) {
        const auto lease = lease_until(10s);
        Lease::Extension extension{at(7s)};
        ASSERT_TRUE(lease->begin_extension(extension, 2s, at(5s)));
        EXPECT_EQ(lease->valid_until(), at(7s));
        EXPECT_EQ(lease->end_extension(extension, carried, at(6s)), carried);
        EXPECT_EQ(lease->valid_until(), at(7s));
    }
}

// Which of two requests under way at once a node runs last nobody knows.
TEST(Lease, of_extensions_that_overlap_the_earliest_end_counts_for_all) {
    for (const bool long_first : {true, false}) {
        const auto lease = lease_until(10s);
        Lease::Extension longer{at(25s)};
        Lease::Extension shorter{at(15s)};
        Lease::Extension& first = long_first ? longer : shorter;
        Lease::Extension& second = long_first ? shorter : longer;
        ASSERT_TRUE(lease->begin_extension(first, 20s, at(5s)));
        ASSERT_TRUE(lease->begin_extension(second, 20s, at(5s)));
        EXPECT_TRUE(lease->end_extension(longer, true, at(6s)));
        EXPECT_EQ(lease->valid_until(), at(15s));
        EXPECT_TRUE(lease->end_extension(shorter, true, at(6s)));
        EXPECT_EQ(lease->valid_until(), at(15s));
    }
}

TEST(Lease, a_shorter_extension_that_overlaps_lowers_what_a_longer_one_had_given) {
    const auto lease = lease_until(10s);
    Lease::Extension longer{at(25s)};
    Lease::Extension shorter{at(8s)};
    ASSERT_TRUE(lease->begin_extension(longer, 20s, at(5s)));
    ASSERT_TRUE(lease->begin_extension(shorter, 3s, at(5s)));
    EXPECT_EQ(lease->valid_until(), at(8s));
    EXPECT_TRUE(lease->end_extension(longer, true, at(6s)));
    EXPECT_EQ(lease->valid_until(), at(8s)) << "the shorter one may run after it";
}

TEST(Lease, extensions_one_after_the_other_do_not_touch_each_other) {
    const auto lease = lease_until(10s);
    Lease::Extension shorter{at(9s)};
    ASSERT_TRUE(lease->begin_extension(shorter, 4s, at(5s)));
    ASSERT_TRUE(lease->end_extension(shorter, true, at(6s)));
    Lease::Extension longer{at(26s)};
    ASSERT_TRUE(lease->begin_extension(longer, 20s, at(6s)));
    EXPECT_TRUE(lease->end_extension(longer, true, at(7s)));
    EXPECT_EQ(lease->valid_until(), at(26s));
}

TEST(Lease, R13_after_a_release_has_begun_nothing_extends) {
    const auto lease = lease_until(10s);
    Lease::Extension under_way{at(25s)};
    ASSERT_TRUE(lease->begin_extension(under_way, 20s, at(5s)));
    EXPECT_EQ(lease->begin_release(at(6s)), Hold::held);
    EXPECT_FALSE(lease->end_extension(under_way, true, at(6s)));
    Lease::Extension later{at(30s)};
    EXPECT_FALSE(lease->begin_extension(later, 20s, at(7s)));
    EXPECT_LE(lease->remaining(at(7s)), 0ns);
    bool has_run = false;
    lease->while_held([&] { has_run = true; });
    EXPECT_FALSE(has_run);
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
    Lease::Extension extension{at(25s)};
    EXPECT_FALSE(lease->begin_extension(extension, 20s, at(2s)));
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

}  // namespace
}  // namespace redlock::test

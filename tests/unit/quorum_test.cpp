// SPDX-License-Identifier: Apache-2.0
// Quorum, tally, drift and validity.
#include <gtest/gtest.h>

#include <vector>

#include "redlock/voting/quorum.hpp"

namespace redlock::detail {
namespace {

using namespace std::chrono_literals;
using Decision = Tally::Decision;

Tally tally_of(std::size_t nodes, const std::vector<Vote>& votes) {
    Tally tally{nodes};
    for (const Vote vote : votes) tally.count(vote);
    return tally;
}

TEST(Quorum, is_more_than_half_of_the_configured_nodes) {
    EXPECT_EQ(quorum_of(1), 1U);
    EXPECT_EQ(quorum_of(2), 2U);
    EXPECT_EQ(quorum_of(3), 2U);
    EXPECT_EQ(quorum_of(4), 3U);
    EXPECT_EQ(quorum_of(5), 3U);
    EXPECT_EQ(quorum_of(6), 4U);
    EXPECT_EQ(quorum_of(7), 4U);
}

TEST(Quorum, any_two_share_a_node) {
    for (std::size_t nodes = 1; nodes <= 100; ++nodes) EXPECT_GT(2 * quorum_of(nodes), nodes) << nodes;
}

TEST(Tally, is_open_while_it_can_go_either_way) {
    EXPECT_EQ(tally_of(5, {}).decision(), Decision::open);
    EXPECT_EQ(tally_of(5, {Vote::granted, Vote::granted}).decision(), Decision::open);
    EXPECT_EQ(tally_of(5, {Vote::denied, Vote::timeout}).decision(), Decision::open);
    EXPECT_EQ(tally_of(5, {Vote::granted, Vote::granted, Vote::denied, Vote::denied}).decision(),
              Decision::open);
}

TEST(Tally, is_carried_as_soon_as_a_quorum_granted) {
    EXPECT_EQ(tally_of(1, {Vote::granted}).decision(), Decision::carried);
    EXPECT_EQ(tally_of(5, {Vote::granted, Vote::granted, Vote::granted}).decision(), Decision::carried);
    EXPECT_EQ(tally_of(3, {Vote::denied, Vote::granted, Vote::granted}).decision(), Decision::carried);
}

TEST(Tally, is_impossible_as_soon_as_a_quorum_can_not_grant_any_more) {
    for (const Vote vote :
         {Vote::denied, Vote::absent, Vote::timeout, Vote::unreachable, Vote::refused, Vote::quarantined}) {
        EXPECT_EQ(tally_of(1, {vote}).decision(), Decision::impossible);
        EXPECT_EQ(tally_of(5, {vote, vote, vote}).decision(), Decision::impossible);
        EXPECT_EQ(tally_of(4, {vote, vote}).decision(), Decision::impossible);
        EXPECT_EQ(tally_of(4, {vote}).decision(), Decision::open);
    }
}

TEST(Tally, counts_absent_as_a_no_and_silence_as_nothing) {
    const Tally tally = tally_of(5, {Vote::denied, Vote::absent, Vote::timeout, Vote::granted});
    EXPECT_EQ(tally.granted(), 1U);
    EXPECT_EQ(tally.denied(), 2U);
    EXPECT_EQ(tally.pending(), 1U);
    EXPECT_EQ(tally.quorum(), 3U);
}

TEST(Tally, contended_is_when_another_has_what_a_working_quorum_could_have_given) {
    EXPECT_EQ(tally_of(3, {Vote::denied, Vote::denied}).reason(), errc::contended);
    EXPECT_EQ(tally_of(3, {Vote::denied, Vote::granted, Vote::timeout}).reason(), errc::contended);
    EXPECT_EQ(tally_of(5, {Vote::denied, Vote::timeout, Vote::timeout, Vote::granted}).reason(),
              errc::contended);
}

TEST(Tally, unreachable_is_when_there_is_no_working_quorum) {
    EXPECT_EQ(tally_of(3, {Vote::timeout, Vote::unreachable}).reason(), errc::unreachable);
    EXPECT_EQ(tally_of(3, {Vote::denied, Vote::timeout, Vote::refused}).reason(), errc::unreachable);
    EXPECT_EQ(tally_of(3, {Vote::granted, Vote::timeout, Vote::quarantined}).reason(), errc::unreachable);
    EXPECT_EQ(tally_of(5, {Vote::denied, Vote::timeout, Vote::timeout, Vote::timeout}).reason(),
              errc::unreachable);
}

TEST(Drift, is_a_part_of_the_ttl_and_a_floor_rounded_up) {
    const Options options;
    EXPECT_GE(drift_of(10s, options), 102ms);
    EXPECT_LE(drift_of(10s, options), 102ms + 10ns);
    EXPECT_GE(drift_of(1ms, options), 2ms + 10us);
    Options none;
    none.drift_factor = 0;
    none.drift_floor = 0ms;
    EXPECT_LE(drift_of(10s, none), 1ns);
    Options large;
    large.drift_factor = 0.5;
    large.drift_floor = 1s;
    EXPECT_GE(drift_of(10s, large), 6s);
}

TEST(Drift, is_exact_enough_for_the_longest_ttl) {
    const Options options;
    const std::chrono::nanoseconds year = 8'760h;
    EXPECT_NEAR(static_cast<double>(drift_of(8'760h, options).count()),
                static_cast<double>((year / 100 + options.drift_floor).count()), 1e4);
}

TEST(Validity, is_ttl_less_elapsed_less_drift) {
    const Options options;
    EXPECT_EQ(validity_of(10s, 0ns, options), 10s - drift_of(10s, options));
    EXPECT_EQ(validity_of(10s, 3s, options), 7s - drift_of(10s, options));
    EXPECT_LT(validity_of(10s, 10s, options), 0s);
    EXPECT_LT(validity_of(2ms, 0ns, options), 0s) << "a ttl within the drift is never valid";
}

}  // namespace
}  // namespace redlock::detail

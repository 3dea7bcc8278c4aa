// SPDX-License-Identifier: Apache-2.0
// Options: every field has a range, and an error gives the field's name and value.
#include <gtest/gtest.h>

#include <chrono>
#include <cmath>
#include <cstdint>
#include <functional>
#include <limits>
#include <optional>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "redlock/options.hpp"

namespace redlock {
namespace {

using namespace std::chrono_literals;

std::string complaint_about(const std::function<void(Options&)>& change) {
    Options options;
    change(options);
    try {
        options.validate();
    } catch (const std::invalid_argument& error) {
        return error.what();
    }
    return {};
}

struct Case {
    std::function<void(Options&)> change;
    const char* field;
    const char* value;
};

TEST(Options, the_defaults_are_valid) { EXPECT_NO_THROW(Options{}.validate()); }

TEST(Options, a_bad_duration_is_named_with_its_field_value_and_range) {
    const std::vector<Case> cases = {
        {[](Options& o) { o.node_timeout = 0ms; }, "Options::node_timeout", "0 ms"},
        {[](Options& o) { o.node_timeout = -7ms; }, "Options::node_timeout", "-7 ms"},
        {[](Options& o) { o.node_timeout = 60001ms; }, "Options::node_timeout", "60001 ms"},
        {[](Options& o) { o.drift_floor = -1ms; }, "Options::drift_floor", "-1 ms"},
        {[](Options& o) { o.drift_floor = 61s; }, "Options::drift_floor", "61000 ms"},
        {[](Options& o) { o.fence_ttl = 999ms; }, "Options::fence_ttl", "999 ms"},
        {[](Options& o) { o.restart_quarantine = -1ms; }, "Options::restart_quarantine", "-1 ms"},
        {[](Options& o) { o.connect_timeout = 0ms; }, "Options::connect_timeout", "0 ms"},
        {[](Options& o) { o.reconnect_min = 0ms; }, "Options::reconnect_min", "0 ms"},
        {[](Options& o) { o.reconnect_max = 9ms; }, "Options::reconnect_max", "9 ms"},
        {[](Options& o) { o.retry.base = 0ms; }, "RetryPolicy::base", "0 ms"},
        {[](Options& o) { o.retry.cap = 24ms; }, "RetryPolicy::cap", "24 ms"},
        {[](Options& o) { o.retry.cap = 2h; }, "RetryPolicy::cap", "7200000 ms"},
    };
    for (const Case& one : cases) {
        const std::string complaint = complaint_about(one.change);
        EXPECT_NE(complaint.find(one.field), std::string::npos) << one.field << ": " << complaint;
        EXPECT_NE(complaint.find(one.value), std::string::npos) << one.field << ": " << complaint;
        EXPECT_NE(complaint.find("must be from"), std::string::npos) << complaint;
    }
    const std::string complaint = complaint_about([](Options& o) { o.retry.base = 2s; });
    EXPECT_NE(complaint.find("RetryPolicy::cap is 500 ms, but must be from RetryPolicy::base, 2000 ms"),
              std::string::npos)
        << complaint;
}

TEST(Options, a_bad_number_is_named_too) {
    constexpr double nan = std::numeric_limits<double>::quiet_NaN();
    const std::vector<Case> cases = {
        {[](Options& o) { o.drift_factor = -0.01; }, "Options::drift_factor", "-0.01"},
        {[](Options& o) { o.drift_factor = 0.51; }, "Options::drift_factor", "0.51"},
        {[](Options& o) { o.drift_factor = nan; }, "Options::drift_factor", "nan"},
        {[](Options& o) { o.backlog = 15; }, "Options::backlog", "15"},
        {[](Options& o) { o.backlog = 1'000'001; }, "Options::backlog", "1000001"},
        {[](Options& o) { o.retry.multiplier = 0.9; }, "RetryPolicy::multiplier", "0.9"},
        {[](Options& o) { o.retry.multiplier = nan; }, "RetryPolicy::multiplier", "nan"},
        {[](Options& o) { o.retry.multiplier = 101; }, "RetryPolicy::multiplier", "101"},
        {[](Options& o) { o.client_name = "two words"; }, "Options::client_name", "'two words'"},
        {[](Options& o) { o.client_name = "line\n"; }, "Options::client_name", "line"},
        {[](Options& o) { o.client_name = "naïve"; }, "Options::client_name", "naïve"},
        {[](Options& o) { o.fence_suffix = ""; }, "Options::fence_suffix", "''"},
        {[](Options& o) { o.fence_suffix = "{x}"; }, "Options::fence_suffix", "'{x}'"},
        {[](Options& o) { o.queue_suffix = "a b"; }, "Options::queue_suffix", "'a b'"},
        {[](Options& o) { o.queue_suffix = std::string(65, 'q'); }, "Options::queue_suffix", "qqq"},
        {[](Options& o) { o.queue_suffix = o.fence_suffix; }, "Options::queue_suffix", "'redlock-fence'"},
    };
    for (const Case& one : cases) {
        const std::string complaint = complaint_about(one.change);
        EXPECT_NE(complaint.find(one.field), std::string::npos) << one.field << ": " << complaint;
        EXPECT_NE(complaint.find(one.value), std::string::npos) << one.field << ": " << complaint;
    }
}

TEST(Options, the_edges_of_each_range_are_allowed) {
    const std::vector<std::function<void(Options&)>> good = {
        [](Options& o) { o.node_timeout = 1ms; },
        [](Options& o) { o.node_timeout = 1min; },
        [](Options& o) { o.drift_factor = 0; },
        [](Options& o) { o.drift_factor = 0.5; },
        [](Options& o) { o.drift_floor = 0ms; },
        [](Options& o) { o.fence_ttl = 1s; },
        [](Options& o) { o.restart_quarantine = 0ms; },
        [](Options& o) { o.reconnect_max = o.reconnect_min; },
        [](Options& o) { o.backlog = 16; },
        [](Options& o) { o.backlog = 1'000'000; },
        [](Options& o) { o.client_name.clear(); },
        [](Options& o) { o.retry.cap = o.retry.base; },
        [](Options& o) { o.retry.multiplier = 1; },
    };
    for (const auto& change : good) EXPECT_EQ(complaint_about(change), "");
}

TEST(Options, forever_is_longer_than_any_wait) { EXPECT_GT(forever, 87'600h); }

TEST(Options, what_is_empty_is_assigned_as_such_also_to_decide) {
    using Decide = std::function<std::optional<std::chrono::milliseconds>(std::uint32_t, const Failure&)>;
    const auto gives_up = [](std::uint32_t, const Failure&) {
        return std::optional<std::chrono::milliseconds>{};
    };
    Options empty;
    Decide nothing;
    const Decide nothing_ever;
    Options options;
    const auto is_empty_after = [&](auto&& what) {
        options.retry.decide = gives_up;
        EXPECT_TRUE(options.retry.decide);
        options.retry.decide = std::forward<decltype(what)>(what);
        return !options.retry.decide;
    };
    EXPECT_TRUE(is_empty_after(empty.retry.decide));
    EXPECT_TRUE(is_empty_after(std::as_const(empty).retry.decide));
    EXPECT_TRUE(is_empty_after(nothing));
    EXPECT_TRUE(is_empty_after(nothing_ever));
    EXPECT_TRUE(is_empty_after(Decide{}));
    EXPECT_TRUE(is_empty_after(nullptr));
    EXPECT_FALSE(RetryPolicy{.decide = nothing}.decide);
    EXPECT_FALSE(RetryPolicy{.decide = empty.retry.decide}.decide);
    EXPECT_TRUE(RetryPolicy{.decide = gives_up}.decide);
}

}  // namespace
}  // namespace redlock

// SPDX-License-Identifier: Apache-2.0
// The cost of an acquisition for a node. The number of commands is checked; the time that the node measures
// is only printed.
#include <gtest/gtest.h>

#include <cstdint>
#include <iostream>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "integration/fencing_parts.hpp"
#include "support/cluster.hpp"
#include "support/eventually.hpp"

namespace redlock::test {
namespace {

constexpr std::uint64_t acquisitions = 2'000;

/// One field of a command's line in INFO commandstats, summed over the nodes.
double sum(Cluster& nodes, const std::string& command, const std::string& field) {
    double total = 0;
    for (auto& node : nodes) {
        const std::string line = node.info("commandstats", "cmdstat_" + command);
        const std::size_t at = line.find(field + "=");
        if (at != std::string::npos) total += std::stod(line.substr(at + field.size() + 1));
    }
    return total;
}

/// Acquires many resources and releases none. Returns the number of second round trips.
std::uint64_t acquire_many(Cluster& nodes, const Options& options) {
    Watched client{nodes.uris(), options};
    // Kept until the end: after detach() a node that is not connected yet would get no request.
    std::vector<WatchedRedlock::lock_type> held;
    for (std::uint64_t i = 0; i < acquisitions; ++i) {
        auto lock = client.locks.try_lock("cost/" + std::to_string(i), 1h);
        if (!lock) {
            ADD_FAILURE() << lock.error().message();
            break;
        }
        held.push_back(*std::move(lock));
    }
    for (auto& lock : held) lock.detach();
    return client.sent->commits;
}

void print(std::string_view what, Cluster& nodes, const std::string& command) {
    const double calls = sum(nodes, command, "calls");
    std::cout << what << ": " << sum(nodes, command, "usec") / calls << " us of a node's time per acquisition"
              << std::endl;
}

TEST(FencingCost, an_acquisition_is_one_command_to_each_node_with_fencing_and_without) {
    constexpr double requests = 3.0 * acquisitions;
    Cluster fenced{3};
    teach(fenced);
    EXPECT_EQ(acquire_many(fenced, fencing_options()), 0U) << "no second round trips";
    // A login sends one EVALSHA and one EVAL, to find out whether scripts can be run.
    const auto by_name = [](Cluster& nodes) {
        return sum(nodes, "evalsha", "calls") - sum(nodes, "eval", "calls");
    };
    EXPECT_TRUE(eventually(10s, [&] { return by_name(fenced) == requests; }));
    EXPECT_EQ(sum(fenced, "set", "calls"), 2 * requests) << "within the script: the counter and the lock";
    EXPECT_EQ(sum(fenced, "eval", "calls"), 3) << "of the log-ins";
    print("with fencing", fenced, "evalsha");

    Cluster plain{3};
    Options options = fencing_options();
    options.fencing = false;
    acquire_many(plain, options);
    EXPECT_TRUE(eventually(10s, [&] { return sum(plain, "set", "calls") == requests; }));
    EXPECT_EQ(by_name(plain), 0);
    EXPECT_EQ(sum(plain, "eval", "calls"), 3) << "of the log-ins";
    print("without", plain, "set");
}

}  // namespace
}  // namespace redlock::test

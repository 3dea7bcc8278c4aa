// SPDX-License-Identifier: Apache-2.0
// Chosen schedules of connections: three nodes, one client, and what goes wrong. Each has a file in
// timelines/.
#pragma once

#include <array>
#include <chrono>
#include <cstdint>
#include <string_view>

#include "sim/plan.hpp"

namespace redlock::sim::deep::scenarios {

struct Scenario {
    std::string_view name;
    std::string_view about;
    Plan (*plan)();
    milliseconds until;  ///< as far as it is shown
};

[[nodiscard]] inline Plan three_nodes(std::uint64_t seed) {
    Plan plan;
    plan.seed = seed;
    plan.depth = Depth::streams;
    plan.node_count = 3;
    plan.client_count = 1;
    plan.worker_count = {1};
    plan.operation_count = 4;
    plan.ttl = milliseconds{2000};
    plan.ttl_max = milliseconds{4000};
    plan.delay = milliseconds{1};
    plan.options.fencing = false;
    plan.options.notify = false;
    plan.options.reconnect_min = milliseconds{10};
    plan.options.reconnect_max = milliseconds{1000};
    plan.wiring.nodes.resize(plan.node_count);
    return plan;
}

[[nodiscard]] inline Fault fault(Fault::Kind kind, milliseconds at, milliseconds lasts,
                                 std::int64_t amount = 0) {
    Fault fault;
    fault.kind = kind;
    fault.at = at;
    fault.lasts = lasts;
    fault.amount = amount;
    return fault;
}

[[nodiscard]] inline Plan dead_connection() {
    Plan plan = three_nodes(3);
    plan.faults.push_back(fault(Fault::Kind::dead, milliseconds{300}, milliseconds{1}));
    return plan;
}

[[nodiscard]] inline Plan failover() {
    Plan plan = three_nodes(3);
    plan.faults.push_back(fault(Fault::Kind::failover, milliseconds{300}, milliseconds{1}));
    return plan;
}

[[nodiscard]] inline Plan two_addresses() {
    Plan plan = three_nodes(3);
    plan.wiring.nodes[0] = {Wiring::Way::name, {Wiring::Decoy::refuses, Wiring::Decoy::is_replica}, true};
    plan.faults.push_back(fault(Fault::Kind::reset, milliseconds{300}, milliseconds{1}));
    return plan;
}

[[nodiscard]] inline Plan hang_up_at_scripts() {
    Plan plan = three_nodes(3);
    plan.wiring.nodes[0].denied = Wiring::Denied::evalsha;
    plan.faults.push_back(fault(Fault::Kind::hang_up, milliseconds{0}, milliseconds{300}, 5));
    return plan;
}

inline constexpr std::array<Scenario, 4> all{{
    {"dead_connection",
     R"(
The connection to node 0 carries nothing any more, and nobody says so. Two seconds after the first request that
is not answered a second connection is made. It ends the first one at the server, and sends the releases that
were never confirmed.
)",
     dead_connection, milliseconds{4600}},
    {"failover",
     R"(
Another server takes the place of node 0. The connection leads to the old one, which is a replica now: the first
READONLY ends it, and the next connection finds the new server.
)",
     failover, milliseconds{700}},
    {"two_addresses",
     R"(
The name of node 0 has three addresses: nobody is at the first, a replica is at the second. All are tried within
one connect, and the one that worked is the first after the connection was reset.
)",
     two_addresses, milliseconds{700}},
    {"hang_up_at_scripts",
     R"(
Node 0 hangs up after five answers, for a while, so that the login learns nothing of scripts. The node runs them
by their text alone: the first NOPERM tells, and the request is sent again with the text.
)",
     hang_up_at_scripts, milliseconds{700}},
}};

}  // namespace redlock::sim::deep::scenarios

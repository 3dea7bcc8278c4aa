// SPDX-License-Identifier: Apache-2.0
// What a plan has beyond that of the fast simulator: how nodes are reached, and faults of streams and
// log-ins.
#pragma once

#include <algorithm>
#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>

#include "sim/plan.hpp"
#include "sim/random.hpp"

namespace redlock::sim::deep {

class Planner {
   public:
    explicit Planner(Plan plan) : random_{plan.seed, 3000}, plan_{std::move(plan)} {}

    [[nodiscard]] Plan draw() {
        plan_.depth = Depth::streams;
        std::erase_if(plan_.faults, [](const Fault& fault) { return Fault::is_of_messages(fault.kind); });
        for (Fault& fault : plan_.faults) {
            if (fault.kind == Kind::refuse) fault.amount = random_.between(0, 4);
        }
        draw_credentials();
        draw_ways();
        draw_useless_node();
        leave_time_for_logins();
        draw_streams();
        if (!plan_.faults.empty()) draw_faults();
        if (plan_.options.restart_quarantine.count() > 0 && random_.chance(30)) draw_negative_uptime();
        return std::move(plan_);
    }

   private:
    using Kind = Fault::Kind;
    using Denied = Wiring::Denied;

    void draw_credentials() {
        Wiring& wiring = plan_.wiring;
        if (random_.chance(60)) wiring.password = "pass-of-all-" + std::to_string(random_.below(1000));
        if (!wiring.password.empty() && random_.chance(40)) wiring.user = "worker";
        if (random_.chance(30)) wiring.db = static_cast<std::uint32_t>(random_.between(1, 3));
    }

    void draw_ways() {
        using Decoy = Wiring::Decoy;
        constexpr std::array decoys{Decoy::refuses, Decoy::is_silent, Decoy::is_replica,
                                    Decoy::wants_other_password};
        const bool all_alike = random_.chance(50);
        for (std::uint32_t n = 0; n < plan_.node_count; ++n) {
            Wiring::Node& node = plan_.wiring.nodes.emplace_back();
            const std::uint64_t way = random_.below(4);
            node.way = way == 0   ? Wiring::Way::unix_socket
                       : way == 1 ? Wiring::Way::numeric
                                  : Wiring::Way::name;
            const bool has_decoys = node.way == Wiring::Way::name && random_.chance(50);
            for (std::int64_t i = has_decoys ? random_.between(1, 2) : 0; i > 0; --i) {
                node.decoys.push_back(decoys[random_.below(decoys.size())]);
            }
            if (plan_.wiring.password.empty()) {
                std::erase(node.decoys, Decoy::wants_other_password);
            }
            node.has_decoys_first = random_.chance(70);
            node.expires_early = random_.chance(30);
            node.denied = all_alike && n > 0 ? plan_.wiring.nodes.front().denied : draw_denied();
        }
    }

    /// At most one node: the others are a majority.
    void draw_useless_node() {
        if (plan_.node_count >= 3 && random_.one_in(12)) {
            const bool is_by_database = plan_.wiring.db != 0 && random_.chance(50);
            plan_.wiring.nodes[random_.below(plan_.node_count)].denied =
                is_by_database ? Denied::select : Denied::scripts;
        }
    }

    /// Each address of a name has a share of the time, in which a login must be possible.
    void leave_time_for_logins() {
        constexpr int one_ways = 32;
        const auto login = std::chrono::ceil<milliseconds>(one_ways * plan_.delay);
        const auto addresses = static_cast<std::int64_t>(Wiring::decoys_max + 1);
        plan_.options.connect_timeout = std::max(plan_.options.connect_timeout, addresses * login);
    }

    /// Whoever may not ask for ids cannot end connections.
    [[nodiscard]] Denied draw_denied() {
        constexpr std::array harmless{Denied::script_load, Denied::script_unknown, Denied::evalsha};
        constexpr std::array without_ids{Denied::client, Denied::client_unknown};
        if (!random_.one_in(5)) return Denied::nothing;
        if (plan_.hides_run_ids && random_.chance(50)) return without_ids[random_.below(without_ids.size())];
        return harmless[random_.below(harmless.size())];
    }

    void draw_streams() {
        Wiring& wiring = plan_.wiring;
        if (random_.chance(40)) wiring.socket_room = static_cast<std::size_t>(random_.spread(4096, 65536));
        if (random_.chance(50)) wiring.piece_max = static_cast<std::size_t>(random_.spread(64, 8192));
        if (random_.one_in(16)) {
            wiring.piece_max = static_cast<std::size_t>(random_.between(4, 32));
            // A login is a thousand events then.
            plan_.options.reconnect_min = plan_.options.reconnect_max = milliseconds{500};
        }
        wiring.rests_when_idle = random_.chance(50);
    }

    void draw_faults() {
        constexpr std::array kinds{Kind::dead,     Kind::hang_up, Kind::crowded,
                                   Kind::password, Kind::unknown, Kind::moved};
        for (const Kind kind : kinds) {
            if (kind == Kind::password && plan_.wiring.password.empty()) continue;
            // Who may not ask for run ids cannot tell servers apart.
            if (kind == Kind::moved && (plan_.node_count < 3 || plan_.hides_run_ids)) continue;
            if (random_.one_in(4)) add(kind, random_.between(1, 3));
        }
        const bool may_forget = plan_.options.restart_quarantine >= plan_.ttl_max && !plan_.hides_run_ids;
        if (random_.one_in(6) && may_forget) add(Kind::failover, random_.between(1, 2));
    }

    /// A node restarts, and its clock is set back by more than it is up since; some clients see only this
    /// process.
    void draw_negative_uptime() {
        Fault restart{.kind = Kind::crash_lose, .at = Instant{plan_.ttl} / 8, .lasts = milliseconds{1}};
        restart.node = static_cast<std::uint32_t>(random_.below(plan_.node_count));
        Fault set_back{.kind = Kind::clock_back, .at = Instant{plan_.ttl} / 4, .lasts = milliseconds{1}};
        set_back.node = restart.node;
        set_back.amount = std::chrono::microseconds{std::chrono::minutes{20}}.count();
        plan_.faults.push_back(restart);
        plan_.faults.push_back(set_back);
        for (std::uint32_t c = 1; c < plan_.client_count; ++c) {
            plan_.starts_at[c] = std::max(plan_.starts_at[c], Instant{plan_.ttl} / 2);
        }
    }

    void add(Kind kind, std::int64_t count) {
        for (std::int64_t i = 0; i < count; ++i) plan_.faults.push_back(draw_fault(kind));
    }

    [[nodiscard]] Fault draw_fault(Kind kind) {
        const Instant horizon = 3 * plan_.ttl;
        Fault fault;
        fault.kind = kind;
        fault.at = random_.chance(50) ? random_.between(Instant{0}, horizon)
                                      : random_.spread(Instant{100'000}, horizon);
        fault.lasts = random_.spread(Instant{milliseconds{1}}, Instant{2 * plan_.ttl_max});
        fault.client = static_cast<std::uint32_t>(random_.below(plan_.client_count));
        fault.node = static_cast<std::uint32_t>(random_.below(plan_.node_count));
        if (kind == Kind::hang_up) fault.amount = random_.between(0, 20);
        if (kind == Kind::password) fault.amount = random_.between(0, 2);
        if (kind == Kind::failover) fault.amount = random_.between(0, 6);
        return fault;
    }

    Random random_;
    Plan plan_;
};

}  // namespace redlock::sim::deep

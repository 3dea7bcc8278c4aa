// SPDX-License-Identifier: Apache-2.0
// The plan of one schedule, drawn from one seed: the world, its clocks, and every fault.
//
// The plan is fixed before the world begins, so the shrinker can remove parts and run it again.
#pragma once

#include <algorithm>
#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <string_view>
#include <vector>

#include "redlock/options.hpp"
#include "redlock/voting/quorum.hpp"
#include "sim/clock.hpp"
#include "sim/random.hpp"

namespace redlock::sim {

using std::chrono::milliseconds;

class Hooks;

struct Fault {
    enum class Kind : std::uint8_t {
        partition,       ///< a set of links carries nothing for a while
        slow,            ///< a set of links is slow for a while
        reset,           ///< a connection ends at both ends, what it carried is gone
        half_reset,      ///< the client's end closes; what it sent still arrives, late
        crash_keep,      ///< a node is down for a while and remembers
        crash_lose,      ///< it comes back empty
        crash_undo,      ///< it comes back without its last writes
        hang,            ///< a node is paused for a while
        refuse,          ///< a node answers everything with an error that passes for a while
        flush_scripts,   ///< a node forgets its scripts
        clock_forward,   ///< a node's wall clock is set
        clock_back,      ///< likewise
        client_clock,    ///< a client's wall clock is set, in either direction
        pause,           ///< a client is paused for a while
        pause_mid_send,  ///< it does so between its next two sends to two nodes
        client_crash,    ///< a client ends without a message
        duplicate,       ///< something between client and node delivers the next request twice
        notice_lost,     ///< published messages get lost on a set of links for a while
        notice_late,     ///< it comes late, or twice and the second time late
        unsubscribe,     ///< a subscriber's connection ends; at times the node does not notice
        forbid,          ///< a node does not permit the channels or the queues for a while
        demote,          ///< a node is a replica for a while
        // of streams alone
        dead,      ///< a connection acknowledges all that is sent on it, and carries nothing any more
        hang_up,   ///< a node ends connections for a while: at once, in the log-in, or after it
        crowded,   ///< a node has no room for more clients for a while
        password,  ///< a node has another password for a while
        failover,  ///< another server answers at a node's addresses, perhaps without the last writes
        unknown,   ///< a node's name cannot be looked up for a while
        moved,     ///< the addresses of a node lead to the server of another for a while
    };
    static constexpr std::size_t kind_count = 29;
    /// TCP neither repeats nor drops what it carries.
    [[nodiscard]] static constexpr bool is_of_messages(Kind kind) noexcept {
        return kind == Kind::duplicate || kind == Kind::notice_lost || kind == Kind::notice_late;
    }
    [[nodiscard]] static constexpr bool is_of_streams(Kind kind) noexcept { return kind >= Kind::dead; }

    Kind kind{};
    Instant at{0};
    Instant lasts{0};
    std::uint32_t client = 0;
    std::uint32_t node = 0;
    std::uint64_t links = 0;  ///< a bit for each client × node
    std::int64_t amount = 0;  ///< writes undone; microseconds that a clock is set by; or which of two ways
};

[[nodiscard]] constexpr std::string_view to_string(Fault::Kind kind) noexcept {
    constexpr std::array<std::string_view, Fault::kind_count> names{"partition",
                                                                    "slow",
                                                                    "reset",
                                                                    "half reset",
                                                                    "crash, memory kept",
                                                                    "crash, memory lost",
                                                                    "crash, last writes lost",
                                                                    "hang",
                                                                    "refuse",
                                                                    "scripts flushed",
                                                                    "node clock forward",
                                                                    "node clock back",
                                                                    "client clock set",
                                                                    "client pause",
                                                                    "client pause between sends",
                                                                    "client crash",
                                                                    "duplicate delivery",
                                                                    "calls lost",
                                                                    "calls late or twice",
                                                                    "subscription lost",
                                                                    "NOPERM for calls",
                                                                    "replica for a while",
                                                                    "connection dead",
                                                                    "hang-ups",
                                                                    "too many clients",
                                                                    "password changed",
                                                                    "failover",
                                                                    "name unknown",
                                                                    "another node's server"};
    return names[static_cast<std::size_t>(kind)];
}

/// Which assumption of the algorithm a schedule may break.
enum class Broken : std::uint8_t {
    none,
    drift,   ///< clocks run at speeds beyond what drift_factor covers
    jump,    ///< nodes' wall clocks are set forward
    memory,  ///< nodes forget, and no quarantine is set
};

/// Which code is simulated code: all above the Transport, or all above the byte streams of connections.
enum class Depth : std::uint8_t { messages, streams };

/// How nodes are reached, what their servers permit, and how bytes travel. Of streams alone.
struct Wiring {
    enum class Way : std::uint8_t { unix_socket, numeric, name };
    /// What is at an address of a node's name that is not the node's own.
    enum class Decoy : std::uint8_t { refuses, is_silent, is_replica, wants_other_password, runs_no_scripts };
    /// What the user of the library may not do, or what the server does not know.
    enum class Denied : std::uint8_t {
        nothing,
        client,
        client_unknown,
        script_load,
        script_unknown,
        evalsha,
        scripts,  ///< it never votes
        select,   ///< likewise, where there is a database to be selected
    };
    static constexpr std::size_t decoys_max = 2;

    struct Node {
        Way way = Way::numeric;
        std::vector<Decoy> decoys{};
        bool has_decoys_first = false;  ///< in the order of the name's look-up
        Denied denied = Denied::nothing;
        bool expires_early = false;  ///< a key, by the millisecond in which it ends
    };
    /// Whether a node can never vote.
    [[nodiscard]] bool is_useless(std::size_t node) const noexcept {
        return node < nodes.size() && nodes[node].denied >= Denied::scripts;
    }
    std::vector<Node> nodes{};
    std::string user{};
    std::string password{};
    std::uint32_t db = 0;
    std::size_t socket_room = 65536;  ///< how much a socket takes before it is read at the other end
    std::size_t piece_max = 65536;    ///< bytes that arrive together
    bool rests_when_idle = false;     ///< a client whose calls have all ended reads nothing
};

struct Plan {
    static constexpr std::uint32_t nodes_max = 7;
    static constexpr std::uint32_t clients_max = 4;

    std::uint64_t seed = 0;
    Broken broken = Broken::none;
    Options options;
    std::uint32_t node_count = 5;
    std::uint32_t client_count = 3;
    std::array<std::uint32_t, clients_max> worker_count{};
    std::uint32_t operation_count = 2;  ///< of each worker
    milliseconds ttl{0};                ///< the usual one
    milliseconds ttl_max{0};            ///< of all that are asked for
    std::array<std::int64_t, nodes_max> node_ppm{};
    std::array<std::int64_t, clients_max> client_ppm{};
    std::array<std::int64_t, clients_max> slew_ppm{};  ///< of the second reading of a client's clock
    std::array<std::int64_t, clients_max> wall_skew_us{};
    std::chrono::nanoseconds delay{0};  ///< the usual one, one way
    unsigned tail_percent = 0;          ///< messages that take much longer
    std::chrono::nanoseconds tail_max{0};
    std::array<bool, clients_max> calls_nobody{};  ///< like a client that does not know the queues
    std::array<Instant, clients_max> starts_at{};  ///< a process that starts later
    bool loads_scripts = false;                    ///< when connecting; else they are sent when missing
    bool hands_over = false;                       ///< locks are detached and adopted, some of them twice
    bool holds_to_the_end = false;                 ///< every lease lasts ttl_max and is held until it is over
    bool hides_run_ids = false;  ///< INFO is forbidden: connections cannot end their predecessors
    Depth depth = Depth::messages;
    Wiring wiring;
    std::vector<Fault> faults;
    Hooks* hooks = nullptr;  ///< of a scenario, in place of draws

    [[nodiscard]] bool has(Fault::Kind kind) const {
        return std::any_of(faults.begin(), faults.end(), [=](const Fault& f) { return f.kind == kind; });
    }
    [[nodiscard]] bool has_secrets() const noexcept { return !wiring.password.empty(); }
    /// Whether there are no faults, every node votes, and every release notifies.
    [[nodiscard]] bool is_calm() const {
        const auto has_silent = std::find(calls_nobody.begin(), calls_nobody.end(), true);
        bool all_vote = true;
        for (std::size_t n = 0; n < node_count; ++n) all_vote = all_vote && !wiring.is_useless(n);
        return faults.empty() && options.notify && has_silent == calls_nobody.end() && all_vote;
    }
    [[nodiscard]] bool may_forget() const {
        return has(Fault::Kind::crash_lose) || has(Fault::Kind::crash_undo) || has(Fault::Kind::failover);
    }

    /// Whether mutual exclusion is guaranteed: the assumptions of the algorithm hold.
    [[nodiscard]] bool is_sound() const {
        constexpr std::int64_t bound_ppm = 5000;
        const auto is_wild = [](std::int64_t ppm) { return ppm > bound_ppm || ppm < -bound_ppm; };
        if (std::any_of(node_ppm.begin(), node_ppm.end(), is_wild)) return false;
        if (std::any_of(client_ppm.begin(), client_ppm.end(), is_wild)) return false;
        if (has(Fault::Kind::clock_forward)) return false;
        return !may_forget() || (options.restart_quarantine >= ttl_max && !hides_run_ids);
    }

    /// Whether all wall clocks agree well enough to stand in for a fencing counter that was lost.
    [[nodiscard]] bool has_true_clocks() const {
        const auto is_off = [](std::int64_t n) { return n != 0; };
        return std::none_of(wall_skew_us.begin(), wall_skew_us.end(), is_off) &&
               std::none_of(client_ppm.begin(), client_ppm.end(), is_off) &&
               !has(Fault::Kind::client_clock) && !has(Fault::Kind::clock_back);
    }

    [[nodiscard]] Instant faults_end() const {
        Instant end{0};
        for (const Fault& fault : faults) end = std::max(end, fault.at + fault.lasts);
        return end;
    }
};

/// Draws plans.
class Planner {
   public:
    Planner(std::uint64_t seed, Broken broken) : random_{seed, 0} {
        plan_.seed = seed;
        plan_.broken = broken;
    }

    [[nodiscard]] Plan draw() {
        draw_size();
        draw_times();
        draw_clocks();
        draw_faults();
        draw_slews();
        draw_tight_quarantine();
        return std::move(plan_);
    }

   private:
    using Kind = Fault::Kind;
    static constexpr std::int64_t steepest_slew_ppm = 100'000;

    void draw_size() {
        constexpr std::array<std::uint32_t, 8> node_counts{5, 5, 5, 5, 3, 3, 4, 7};
        plan_.node_count = random_.one_in(20) ? 1 : node_counts[random_.below(node_counts.size())];
        plan_.client_count = random_.chance(80) ? 3 : random_.chance(50) ? 2 : 4;
        for (auto& count : plan_.worker_count) count = random_.chance(85) ? 1 : 2;
        plan_.operation_count = static_cast<std::uint32_t>(random_.between(1, 3));
        plan_.options.notify = random_.chance(80);
        for (bool& is_silent : plan_.calls_nobody) is_silent = random_.one_in(12);
        plan_.loads_scripts = random_.chance(70);
        constexpr std::uint64_t every = 8;  // by the seed itself, so that the others stay as they are
        plan_.hands_over = plan_.broken == Broken::none && plan_.seed % every == 0;
        if (plan_.hands_over) plan_.operation_count += 2;
    }

    void draw_times() {
        Options& options = plan_.options;
        options.node_timeout = random_.spread(milliseconds{10}, milliseconds{100});
        options.connect_timeout = random_.spread(milliseconds{50}, milliseconds{1000});
        options.reconnect_min = milliseconds{10};
        options.reconnect_max = random_.spread(milliseconds{10}, milliseconds{2000});
        options.fencing = random_.chance(85);
        options.fence_ttl =
            random_.one_in(10) ? random_.spread(milliseconds{1000}, milliseconds{20'000}) : options.fence_ttl;
        options.backlog = random_.one_in(10) ? 16 : 4096;
        plan_.ttl = random_.spread(milliseconds{40}, milliseconds{20'000});
        plan_.ttl_max = plan_.ttl * 2;
        // In proportion to the ttl, so that a schedule has some hundred events and not many thousand.
        options.retry.base = random_.spread(milliseconds{1}, std::max(plan_.ttl / 4, milliseconds{2}));
        options.retry.cap =
            std::max({options.retry.base, plan_.ttl / random_.between(1, 4), 4 * options.node_timeout});
        options.retry.multiplier = 4;
        const auto shortest = std::min(options.node_timeout, plan_.ttl);
        plan_.delay = random_.spread(std::chrono::microseconds{50}, std::chrono::microseconds{shortest} / 16);
        plan_.tail_percent = random_.chance(60) ? static_cast<unsigned>(random_.spread(1, 20)) : 0;
        plan_.tail_max = random_.spread(milliseconds{10}, milliseconds{2000});
    }

    void draw_clocks() {
        const bool is_wild = plan_.broken == Broken::drift;
        const std::int64_t bound = is_wild ? 100'000 : random_.chance(50) ? 5000 : 0;
        for (auto& ppm : plan_.node_ppm) ppm = draw_drift(bound);
        const bool is_true = random_.chance(50);
        for (auto& ppm : plan_.client_ppm) ppm = is_true && !is_wild ? 0 : draw_drift(bound);
        if (is_true) return;
        constexpr std::int64_t ten_days_us = 864'000'000'000;
        for (auto& skew : plan_.wall_skew_us) {
            skew = random_.spread(std::int64_t{1}, ten_days_us) * (random_.chance(50) ? 1 : -1);
        }
    }

    /// As far as a kernel slews, which is more than any permitted drift: the other reading compensates.
    void draw_slews() {
        if (!random_.one_in(4)) return;
        for (auto& ppm : plan_.slew_ppm) ppm = draw_drift(steepest_slew_ppm);
    }

    /// Nodes forget a lease as soon as it is there, and their quarantine is as long as the lease, while the
    /// others try all the time: one that ends early is seen. Drawn last, so that other plans do not change.
    void draw_tight_quarantine() {
        Options& options = plan_.options;
        if (options.restart_quarantine.count() == 0 || random_.chance(50)) return;
        plan_.holds_to_the_end = true;
        if (random_.chance(50)) plan_.faults.clear();
        for (auto& ppm : plan_.slew_ppm) ppm = draw_drift(steepest_slew_ppm);
        options.retry.base = std::max(milliseconds{1}, plan_.ttl_max / 64);
        options.retry.cap = 2 * options.retry.base;
        for (std::uint32_t node = 0; node < plan_.node_count; ++node) {
            if (random_.chance(30)) continue;
            Fault fault{.kind = Kind::crash_lose, .node = node};
            fault.at = random_.spread(Instant{milliseconds{1}}, Instant{plan_.ttl_max} / 8);
            fault.lasts = random_.spread(Instant{milliseconds{1}}, Instant{plan_.ttl_max} / 8);
            plan_.faults.push_back(fault);
        }
    }

    /// Often at the bound itself, where errors show.
    [[nodiscard]] std::int64_t draw_drift(std::int64_t bound) {
        if (random_.chance(50)) return random_.chance(50) ? bound : -bound;
        return random_.between(-bound, bound);
    }

    // ---- faults ------------------------------------------------------------------------------------

    void draw_faults() {
        if (random_.one_in(12)) return draw_forgetting();  // a calm world
        constexpr std::array kinds{Kind::partition,    Kind::slow,         Kind::reset,  Kind::half_reset,
                                   Kind::crash_keep,   Kind::hang,         Kind::refuse, Kind::flush_scripts,
                                   Kind::clock_back,   Kind::client_clock, Kind::pause,  Kind::pause_mid_send,
                                   Kind::client_crash, Kind::duplicate};
        for (const Kind kind : kinds) {
            const std::uint64_t rarity = kind == Kind::client_crash || kind == Kind::duplicate ? 8 : 4;
            if (random_.one_in(rarity)) add(kind, random_.between(1, 3));
        }
        constexpr std::array of_calls{Kind::notice_lost, Kind::notice_late, Kind::unsubscribe, Kind::forbid};
        for (const Kind kind : of_calls) {
            if (plan_.options.notify && random_.one_in(4)) add(kind, random_.between(1, 3));
        }
        plan_.hides_run_ids = random_.one_in(10);
        if (plan_.broken == Broken::jump) add(Kind::clock_forward, random_.between(1, 4));
        draw_forgetting();
        if (random_.one_in(4)) add(Kind::demote, random_.between(1, 3));
    }

    void draw_forgetting() {
        const bool is_careless = plan_.broken == Broken::memory;
        if (!is_careless && !random_.one_in(5)) return;
        add(random_.chance(50) ? Kind::crash_lose : Kind::crash_undo, random_.between(1, 4));
        if (is_careless) return;
        plan_.hides_run_ids = false;
        plan_.options.restart_quarantine = plan_.ttl_max;
        draw_late_starts();
    }

    /// A client that first connects after a restart learns of the restart by the node's uptime alone.
    void draw_late_starts() {
        if (!random_.chance(50)) return;
        for (std::uint32_t c = 1; c < plan_.client_count; ++c) {
            plan_.starts_at[c] = random_.between(Instant{0}, Instant{2 * plan_.ttl_max});
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
        const bool is_of_links = kind == Kind::partition || kind == Kind::slow || kind == Kind::notice_lost ||
                                 kind == Kind::notice_late;
        if (is_of_links) fault.links = draw_links();
        const bool has_ways = kind == Kind::unsubscribe || kind == Kind::forbid || kind == Kind::client_crash;
        if (has_ways) fault.amount = random_.between(0, 1);
        if (kind == Kind::crash_undo) fault.amount = random_.between(1, 6);
        if (kind == Kind::clock_forward || kind == Kind::clock_back) {
            const auto longest = std::chrono::microseconds{plan_.ttl_max};
            fault.amount = random_.spread(std::chrono::microseconds{1000}, longest).count();
        }
        if (kind == Kind::client_clock) {
            fault.amount = random_.spread(std::int64_t{1}, std::int64_t{100'000'000'000});
            if (random_.chance(50)) fault.amount = -fault.amount;
        }
        return fault;
    }

    /// Whole clients, whole nodes, or any links.
    [[nodiscard]] std::uint64_t draw_links() {
        std::uint64_t clients = random_.next();
        std::uint64_t nodes = random_.next();
        std::uint64_t links = random_.chance(30) ? random_.next() : 0;
        if (random_.chance(50)) clients = ~std::uint64_t{0};
        for (std::uint32_t c = 0; c < Plan::clients_max; ++c) {
            for (std::uint32_t n = 0; n < Plan::nodes_max; ++n) {
                const bool is_in = ((clients >> c) & (nodes >> n) & 1U) != 0;
                if (is_in) links |= std::uint64_t{1} << (c * Plan::nodes_max + n);
            }
        }
        return links;
    }

    Random random_;
    Plan plan_;
};

}  // namespace redlock::sim

// SPDX-License-Identifier: Apache-2.0
#include "chaos/plan.hpp"

#include <algorithm>
#include <array>
#include <numeric>

namespace redlock::chaos {
namespace {

using namespace std::chrono_literals;
using std::chrono::milliseconds;

// Not std::uniform_int_distribution: each standard library has its own, and a seed should mean the same plan.
std::int64_t draw(std::mt19937_64& random, std::int64_t from, std::int64_t to) {
    return from + static_cast<std::int64_t>(random() % static_cast<std::uint64_t>(to - from + 1));
}

milliseconds draw(std::mt19937_64& random, milliseconds from, milliseconds to) {
    return milliseconds{draw(random, from.count(), to.count())};
}

// From the end of the fault until the node votes again.
milliseconds recovery_of(FaultKind kind, const Part& part) {
    // More than the supervisor allows, so that a fault that ends a little late does no harm.
    constexpr milliseconds reconnecting = 800ms;
    const bool restarts = kind == FaultKind::kill_keep || kind == FaultKind::kill_forget;
    return reconnecting + (restarts ? quarantine_of_restarted(part) + 700ms : 0ms);
}

Fault draw_node_fault(FaultKind kind, std::mt19937_64& random) {
    Fault fault;
    fault.kind = kind;
    // A server that was killed comes back while leases that it knew are still valid.
    const bool is_kill = kind == FaultKind::kill_keep || kind == FaultKind::kill_forget;
    fault.lasts = draw(random, 100ms, is_kill ? short_ttl : 3000ms);
    if (fault.kind == FaultKind::delay) fault.delay = draw(random, 5ms, 250ms);
    return fault;
}

class Drawer {
   public:
    Drawer(const Part& part, std::mt19937_64& random) : part_{part}, random_{random} {}

    void nodes(std::vector<Fault>& faults) {
        for (milliseconds at = 200ms; at < end();) {
            // A majority first loses its data: the quarantine is all that protects its holders then.
            const bool is_first_of_majority = part_.is_majority_struck && faults.empty();
            Fault fault =
                draw_node_fault(is_first_of_majority ? FaultKind::kill_forget : next_kind(), random_);
            const bool is_majority =
                part_.is_majority_struck && (is_first_of_majority || draw(random_, 0, 1) == 0);
            const std::size_t wanted =
                is_majority ? static_cast<std::size_t>(draw(random_, minority + 1, node_count)) : 1;
            // All others are well before a majority is struck, so that what follows is due to this fault.
            at = std::max(at, when_at_most_in_trouble(is_majority ? 0 : minority - 1));
            if (at >= end()) return;
            fault.at = at;
            fault.lasts = std::min(fault.lasts, end() - at);
            fault.targets = some_that_are_well(at, wanted);
            const milliseconds well_again = at + fault.lasts + recovery_of(fault.kind, part_);
            for (const std::size_t node : fault.targets) well_at_[node] = well_again;
            at = is_majority ? well_again + draw(random_, 500ms, 2000ms) : at + draw(random_, 50ms, 500ms);
            faults.push_back(std::move(fault));
        }
    }

    void clients(std::vector<Fault>& faults) {
        std::array<milliseconds, client_count> free_at{};
        for (milliseconds at = 500ms; at < end(); at += draw(random_, 200ms, 1500ms)) {
            const auto client = static_cast<std::size_t>(draw(random_, 0, client_count - 1));
            if (free_at[client] > at) continue;
            Fault fault{at, {}, FaultKind::kill_client, {client}, {}};
            if (draw(random_, 0, 1) == 0) fault.kind = FaultKind::pause_client;
            fault.lasts = fault.kind == FaultKind::kill_client ? draw(random_, 0ms, 1000ms)
                                                               : draw(random_, 300ms, longest_ttl * 2);
            free_at[client] = at + fault.lasts + 1000ms;
            faults.push_back(std::move(fault));
        }
    }

   private:
    [[nodiscard]] milliseconds end() const { return part_.lasts - std::min(part_.lasts / 4, 1000ms); }

    // Every kind comes once before any comes again.
    FaultKind next_kind() {
        if (kinds_.empty()) {
            for (std::size_t i = 0; i <= static_cast<std::size_t>(FaultKind::reset); ++i) {
                const auto kind = static_cast<FaultKind>(i);
                if (kind != FaultKind::kill_forget || part_.may_forget) kinds_.push_back(kind);
            }
        }
        const auto drawn = kinds_.begin() + draw(random_, 0, static_cast<std::int64_t>(kinds_.size()) - 1);
        const FaultKind kind = *drawn;
        kinds_.erase(drawn);
        return kind;
    }

    [[nodiscard]] milliseconds when_at_most_in_trouble(std::size_t count) const {
        auto times = well_at_;
        std::sort(times.begin(), times.end());
        return times[node_count - 1 - count];
    }

    [[nodiscard]] std::vector<std::size_t> some_that_are_well(milliseconds at, std::size_t count) {
        std::vector<std::size_t> nodes;
        for (std::size_t node = 0; node < node_count; ++node) {
            if (well_at_[node] <= at) nodes.push_back(node);
        }
        while (nodes.size() > count) {
            nodes.erase(nodes.begin() + draw(random_, 0, static_cast<std::int64_t>(nodes.size()) - 1));
        }
        return nodes;
    }

    const Part& part_;
    std::mt19937_64& random_;
    std::vector<FaultKind> kinds_;
    std::array<milliseconds, node_count> well_at_{};
};

}  // namespace

const char* to_string(FaultKind kind) {
    switch (kind) {
        case FaultKind::kill_keep: return "killed, restarted with data";
        case FaultKind::kill_forget: return "killed, restarted empty";
        case FaultKind::stop: return "SIGSTOP";
        case FaultKind::replica: return "replica";
        case FaultKind::client_pause: return "CLIENT PAUSE";
        case FaultKind::flood: return "flood";
        case FaultKind::partition: return "partition";
        case FaultKind::half_partition: return "partition, replies only";
        case FaultKind::blackhole: return "blackhole";
        case FaultKind::delay: return "delay";
        case FaultKind::reset: return "reset";
        case FaultKind::pause_client: return "client paused";
        case FaultKind::kill_client: return "client killed";
    }
    return "?";
}

bool is_of_client(FaultKind kind) {
    return kind == FaultKind::pause_client || kind == FaultKind::kill_client;
}

std::vector<Part> parts_of(milliseconds total) {
    return {{"nodes keep their data", total * 35 / 100, 0ms, false, false},
            {"nodes may forget", total * 35 / 100, longest_ttl, true, false},
            {"a majority now and then", total * 30 / 100, longest_ttl, true, true}};
}

milliseconds quarantine_of_restarted(const Part& part) {
    // A server reports its uptime in truncated seconds, and the library counts one less.
    return part.quarantine > 0ms ? part.quarantine + 2000ms : 0ms;
}

std::vector<Fault> plan_of(const Part& part, std::mt19937_64& random) {
    std::vector<Fault> faults;
    Drawer drawer{part, random};
    drawer.nodes(faults);
    drawer.clients(faults);
    std::stable_sort(faults.begin(), faults.end(),
                     [](const Fault& a, const Fault& b) { return a.at < b.at; });
    return faults;
}

}  // namespace redlock::chaos

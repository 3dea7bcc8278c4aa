// SPDX-License-Identifier: Apache-2.0
// How often clients connect to nodes, against how often they may.
#pragma once

#include <algorithm>
#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <optional>
#include <string>

#include "sim/clock.hpp"
#include "sim/plan.hpp"

namespace redlock::sim::deep {

/// The backoff of R22 as a bound: how many connects its delays leave room for in any second. A connection
/// that has served a request makes up for one connect, since after it the next try is at once.
class Connects {
   public:
    explicit Connects(const Plan& plan) : plan_{plan}, most_{most_of(plan.options)} {}

    /// Nothing, or what is wrong with one more.
    [[nodiscard]] std::optional<std::string> add(std::uint32_t client, std::uint32_t node, Instant now) {
        auto& recent = recent_[client * Plan::nodes_max + node];
        while (!recent.empty() && now - recent.front() > std::chrono::seconds{1}) recent.pop_front();
        recent.push_back(now);
        // One for requests and one that subscribes; each tries all addresses, and one of them may be tried
        // twice, without the questions about scripts.
        const std::size_t addresses = plan_.wiring.nodes[node].decoys.size() + 2;
        if (recent.size() <= 2 * addresses * most_) return std::nullopt;
        return "client " + std::to_string(client) + " connects to node " + std::to_string(node) +
               " for the " + std::to_string(recent.size()) + "th time in one second";
    }

    void forgive(std::uint32_t client, std::uint32_t node) {
        auto& recent = recent_[client * Plan::nodes_max + node];
        if (!recent.empty()) recent.pop_front();
    }

   private:
    /// The shortest delays are half of what doubles from reconnect_min to reconnect_max.
    [[nodiscard]] static std::size_t most_of(const Options& options) {
        std::chrono::milliseconds longest = options.reconnect_min;
        std::chrono::milliseconds sum{0};
        std::size_t count = 2;  // the first, and one after a connection that was of use
        while (sum < std::chrono::seconds{1}) {
            sum += std::max(std::chrono::milliseconds{1}, longest / 2);
            longest = std::min(2 * longest, options.reconnect_max);
            ++count;
        }
        return count;
    }

    const Plan& plan_;
    std::size_t most_;
    std::array<std::deque<Instant>, std::size_t{Plan::clients_max} * Plan::nodes_max> recent_{};
};

}  // namespace redlock::sim::deep

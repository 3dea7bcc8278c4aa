// SPDX-License-Identifier: Apache-2.0
// The nodes, each a server behind a proxy of its own, and what a fault does to them.
#pragma once

#include <array>
#include <chrono>
#include <cstddef>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "chaos/plan.hpp"
#include "chaos/settings.hpp"
#include "support/cluster.hpp"
#include "support/delay_proxy.hpp"

namespace redlock::chaos {

class Nodes {
   public:
    Nodes();

    // What clients connect to: the proxies.
    [[nodiscard]] std::vector<std::string> uris() const;

    // How long clients from now on do not let a restarted node vote, at most.
    void set_quarantine(std::chrono::milliseconds quarantine);

    void begin(const Fault& fault);
    void end(const Fault& fault);
    // Ends what may be left of any fault.
    void heal();

    // How many nodes suffer from a fault, or from the quarantine after it.
    [[nodiscard]] std::size_t in_trouble() const;
    // "1 SIGSTOP, 4 flood"
    [[nodiscard]] std::string troubles() const;
    // Keys of locks and queues that are still there. Only when all nodes are well.
    [[nodiscard]] std::vector<std::string> keys_left();
    // Whether a server has ended that was not killed: its number and the end of its log.
    [[nodiscard]] std::optional<std::string> ended_by_itself();

   private:
    struct Node {
        std::unique_ptr<test::DelayProxy> proxy;
        std::optional<FaultKind> fault;
        Nanoseconds started_at = 0;
        Nanoseconds well_at = 0;
        std::vector<std::jthread> flooders;
    };

    void begin(std::size_t node, const Fault& fault);
    void end(std::size_t node, FaultKind kind);

    test::Cluster servers_;
    std::array<Node, node_count> nodes_;
    std::chrono::milliseconds quarantine_{0};
};

}  // namespace redlock::chaos

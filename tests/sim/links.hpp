// SPDX-License-Identifier: Apache-2.0
// The ways between clients and nodes: how long a message takes on each, and what is wrong with it at the
// moment.
#pragma once

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "sim/clock.hpp"
#include "sim/plan.hpp"
#include "sim/random.hpp"

namespace redlock::sim {

struct Link {
    explicit Link(Random stream) : random{stream} {}
    Random random;
    Instant blocked_until{0};
    Instant slow_until{0};
    Instant mute_until{0};  ///< notices are lost
    Instant echo_until{0};  ///< they come late, or twice
    bool duplicates_next = false;
};

class Links {
   public:
    Links(const Plan& plan, const Instant& now) : plan_{plan}, now_{now} {
        for (std::uint32_t i = 0; i < Plan::clients_max * Plan::nodes_max; ++i) {
            links_.emplace_back(Random{plan.seed, 1000 + i});
        }
    }

    [[nodiscard]] Link& between(std::uint32_t client, std::uint32_t node) {
        return links_[client * Plan::nodes_max + node];
    }

    [[nodiscard]] Instant draw_delay(Link& link) {
        Instant delay = plan_.delay / 2 + link.random.between(Instant{0}, Instant{plan_.delay});
        if (!is_calm_ && link.random.chance(plan_.tail_percent)) {
            delay += link.random.spread(Instant{1'000'000}, plan_.tail_max);
        }
        if (now_ < link.slow_until) {
            delay += link.random.between(Instant{0}, 3 * Instant{plan_.options.node_timeout});
        }
        return delay;
    }

    // ---- faults; a bit for each link ---------------------------------------------------------------

    void block(std::uint64_t links, Instant until) {
        for_each(links, [=](Link& link) { link.blocked_until = std::max(link.blocked_until, until); });
    }
    void slow_down(std::uint64_t links, Instant until) {
        for_each(links, [=](Link& link) { link.slow_until = std::max(link.slow_until, until); });
    }
    void lose_notices(std::uint64_t links, Instant until) {
        for_each(links, [=](Link& link) { link.mute_until = std::max(link.mute_until, until); });
    }
    void repeat_notices(std::uint64_t links, Instant until) {
        for_each(links, [=](Link& link) { link.echo_until = std::max(link.echo_until, until); });
    }

    /// Ends all long delays: from here on the network works.
    void calm_down() noexcept {
        is_calm_ = true;
        for (Link& link : links_) link.duplicates_next = false;
    }

   private:
    template <class Change>
    void for_each(std::uint64_t links, Change change) {
        for (std::size_t i = 0; i < links_.size(); ++i) {
            if ((links >> i & 1U) != 0) change(links_[i]);
        }
    }

    const Plan& plan_;
    const Instant& now_;
    std::vector<Link> links_;
    bool is_calm_ = false;
};

}  // namespace redlock::sim

// SPDX-License-Identifier: Apache-2.0
// What clients were told, in true time, and the checks over it.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "redlock/algorithm/lease.hpp"
#include "sim/clock.hpp"
#include "sim/outcome.hpp"
#include "sim/plan.hpp"
#include "sim/timeline.hpp"

namespace redlock::sim {

using SimLease = detail::Lease<SimClock::time_point>;
using SimLeasePtr = detail::Ref<SimLease>;

class History {
   public:
    History(const Plan& plan, const Instant& now, Timeline& timeline)
        : plan_{plan}, now_{now}, timeline_{timeline} {}

    // ---- recording ---------------------------------------------------------------------------------

    void acquired(std::uint32_t client, const SimLeasePtr& lease, const ClientTime& time) {
        Tenure tenure{client, lease, &time, lease->valid_until()};
        check_exclusion(tenure);
        tenures_.push_back(std::move(tenure));
        ++acquired_count_;
        if (!lease->fences.empty()) check_fences(*lease, time.when(lease->acquired_at));
    }

    /// An adoption by the token. With the fencing tokens of the previous holder it is no acquisition.
    void adopted(std::uint32_t client, const SimLeasePtr& lease, const ClientTime& time, Instant began,
                 bool is_same_fence) {
        adopted_.push_back(lease->token.str());
        Tenure tenure{client, lease, &time, lease->valid_until()};
        check_exclusion(tenure);
        tenures_.push_back(std::move(tenure));
        is_same_fence ? extended(*lease, began) : check_fences(*lease, began);
    }

    /// After every step of a client: extensions move the end of a tenure.
    void look_at(std::uint32_t client) {
        for (Tenure& tenure : tenures_) {
            if (tenure.client != client || tenure.lease->hold() != detail::Hold::held) continue;
            const auto until = tenure.lease->valid_until();
            if (until == tenure.known_until) continue;
            const bool is_longer = tenure.known_until < until;
            tenure.known_until = until;
            if (is_longer) check_exclusion(tenure);
        }
        std::erase_if(tenures_, [](const Tenure& t) { return t.lease->hold() != detail::Hold::held; });
    }

    /// An extension that began at an instant was confirmed.
    void extended(const SimLease& lease, Instant began) {
        for (const Completion& other : completions_) {
            if (other.at > began) continue;
            for (std::size_t i = 0; i < lease.fences.size(); ++i) {
                if (other.resource != lease.claim->resources[i] || other.fence <= lease.fences[i]) continue;
                // Between clients that share a lock's token only the counter prevents it.
                const bool rests_on_counter = is_shared(lease);
                fencing_violated("an extension of token " + std::to_string(lease.fences[i]) +
                                     " was confirmed after token " + std::to_string(other.fence) +
                                     " was given",
                                 rests_on_counter);
            }
        }
    }

    void report(Property property, std::string what) {
        timeline_.note(now_, "!!! violation of (", std::string(1, static_cast<char>(property)), "): ", what);
        if (!violation_) violation_ = Violation{property, now_, std::move(what)};
    }

    /// A request that is delivered twice, or late where connections cannot be ended, may end a lease early.
    void set_shortened_late() noexcept { is_shortened_late_ = true; }

    /// When a fencing counter was lost, tokens rest on the wall clocks.
    void set_counters_lost() noexcept { are_counters_lost_ = true; }

    // ---- results -----------------------------------------------------------------------------------

    [[nodiscard]] const std::optional<Violation>& violation() const noexcept { return violation_; }
    [[nodiscard]] std::size_t acquired_count() const noexcept { return acquired_count_; }
    [[nodiscard]] std::size_t overlap_count() const noexcept { return overlap_count_; }
    [[nodiscard]] std::size_t fence_failure_count() const noexcept { return fence_failure_count_; }

   private:
    struct Tenure {
        std::uint32_t client;
        SimLeasePtr lease;
        const ClientTime* time;  ///< of its holder
        SimClock::time_point known_until;

        [[nodiscard]] bool is_valid() const {
            return lease->hold() == detail::Hold::held && lease->remaining(SimClock{*time}.now()).count() > 0;
        }
    };
    struct Completion {
        Instant at;
        std::string resource;
        std::int64_t fence;
    };

    void check_exclusion(const Tenure& tenure) {
        if (!tenure.is_valid()) {
            if (tenure.lease->hold() == detail::Hold::held) {
                report(Property::exclusion, "a lease was given whose validity was over");
            }
            return;
        }
        for (const Tenure& other : tenures_) {
            if (other.lease == tenure.lease || !other.is_valid()) continue;
            if (is_shared(*tenure.lease) || is_shared(*other.lease)) continue;
            for (const std::string& resource : tenure.lease->claim->resources) {
                const auto& theirs = other.lease->claim->resources;
                if (std::find(theirs.begin(), theirs.end(), resource) == theirs.end()) continue;
                overlap_count_ += 1;
                std::string what = "client " + std::to_string(tenure.client) + " (token " +
                                   tenure.lease->token.str().substr(0, 6) + ") and client " +
                                   std::to_string(other.client) + " (token " +
                                   other.lease->token.str().substr(0, 6) + ") hold " + resource;
                if (plan_.is_sound() && !is_shortened_late_) {
                    report(Property::exclusion, std::move(what));
                } else {
                    timeline_.note(now_, "    an assumption is broken: ", what);
                }
            }
        }
    }

    /// Two clients that adopt with one token both hold until one unlocks: only fencing tells them apart.
    [[nodiscard]] bool is_shared(const SimLease& lease) const {
        return std::count(adopted_.begin(), adopted_.end(), lease.token.str()) > 1;
    }

    void check_fences(const SimLease& lease, Instant began) {
        for (std::size_t i = 0; i < lease.fences.size(); ++i) {
            const std::string& resource = lease.claim->resources[i];
            const std::int64_t fence = lease.fences[i];
            for (const Completion& other : completions_) {
                if (other.resource != resource) continue;
                const bool is_before = other.at < began;
                if (other.fence != fence && (!is_before || other.fence < fence)) continue;
                fencing_violated("token " + std::to_string(fence) + " of " + resource + " comes after " +
                                 std::to_string(other.fence));
            }
            completions_.push_back({now_, resource, fence});
        }
    }

    void fencing_violated(std::string what, bool rests_on_counter = false) {
        ++fence_failure_count_;
        if (are_counters_lost_ && (rests_on_counter || !plan_.has_true_clocks())) {
            timeline_.note(now_, "    an assumption is broken: ", what);
        } else {
            report(Property::fencing, std::move(what));
        }
    }

    const Plan& plan_;
    const Instant& now_;
    Timeline& timeline_;
    std::vector<Tenure> tenures_;
    std::vector<Completion> completions_;
    std::vector<std::string> adopted_;  ///< the token of each adoption
    std::optional<Violation> violation_;
    std::size_t acquired_count_ = 0;
    std::size_t overlap_count_ = 0;
    std::size_t fence_failure_count_ = 0;
    bool are_counters_lost_ = false;
    bool is_shortened_late_ = false;
};

}  // namespace redlock::sim

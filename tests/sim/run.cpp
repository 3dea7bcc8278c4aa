// SPDX-License-Identifier: Apache-2.0
#include "sim/run.hpp"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <utility>

#include "sim/deep/planner.hpp"
#include "sim/plan.hpp"
#include "sim/transport.hpp"
#include "sim/world.hpp"

namespace redlock::sim {

Plan plan_of(std::uint64_t seed, Broken broken, Depth depth) {
    Plan plan = Planner{seed, broken}.draw();
    return depth == Depth::streams ? deep::Planner{std::move(plan)}.draw() : plan;
}

Outcome run(const Plan& plan, bool is_told) {
    if (plan.depth == Depth::streams) return run_on_streams(plan, is_told);
    return World<MessageFloor>{plan, is_told}.run();
}

Totals run_many(Seeds seeds, Broken broken, Depth depth) {
    Totals totals;
    for (std::uint64_t seed = seeds.first; seed < seeds.first + seeds.count; ++seed) {
        const Outcome outcome = run(plan_of(seed, broken, depth));
        ++totals.schedules;
        totals.events += outcome.events;
        totals.acquired += outcome.acquired;
        for (std::size_t i = 0; i < Fault::kind_count; ++i) totals.faults[i] += outcome.faults[i];
        if (outcome.overlaps > 0) totals.overlapping.push_back(seed);
        if (outcome.fence_failures > 0) totals.tokens_disordered.push_back(seed);
        if (!outcome.violation) continue;
        totals.failing = seed;
        totals.violation = outcome.violation;
        break;
    }
    return totals;
}

Plan Shrinker::shrink() {
    bool is_smaller = true;
    while (is_smaller) {
        is_smaller = drop_faults();
        for (std::uint32_t c = 0; c < plan_.client_count; ++c) {
            is_smaller |= plan_.worker_count[c] > 0 && try_with([=](Plan& plan) { --plan.worker_count[c]; });
        }
        is_smaller |= plan_.operation_count > 1 && try_with([](Plan& plan) { --plan.operation_count; });
        is_smaller |= plan_.tail_percent > 0 && try_with([](Plan& plan) { plan.tail_percent = 0; });
        is_smaller |= plan_.options.notify && try_with([](Plan& plan) { plan.options.notify = false; });
        is_smaller |= has_drift() && try_with([](Plan& plan) {
                          plan.node_ppm.fill(0);
                          plan.client_ppm.fill(0);
                          plan.slew_ppm.fill(0);
                      });
    }
    return plan_;
}

bool Shrinker::drop_faults() {
    bool has_dropped = false;
    for (std::size_t size = std::max<std::size_t>(plan_.faults.size(), 1); size > 0; size /= 2) {
        for (std::size_t at = 0; at < plan_.faults.size();) {
            const std::size_t end = std::min(at + size, plan_.faults.size());
            const bool is_gone = try_with([=](Plan& plan) {
                plan.faults.erase(plan.faults.begin() + static_cast<std::ptrdiff_t>(at),
                                  plan.faults.begin() + static_cast<std::ptrdiff_t>(end));
            });
            if (!is_gone) at = end;
            has_dropped = has_dropped || is_gone;
        }
    }
    return has_dropped;
}

bool Shrinker::has_drift() const {
    const auto is_off = [](std::int64_t ppm) { return ppm != 0; };
    return std::any_of(plan_.node_ppm.begin(), plan_.node_ppm.end(), is_off) ||
           std::any_of(plan_.client_ppm.begin(), plan_.client_ppm.end(), is_off) ||
           std::any_of(plan_.slew_ppm.begin(), plan_.slew_ppm.end(), is_off);
}

bool Shrinker::try_with(const std::function<void(Plan&)>& change) {
    Plan smaller = plan_;
    change(smaller);
    if (!still_fails_(run(smaller))) return false;
    plan_ = std::move(smaller);
    return true;
}

Plan shrink(Plan plan, Property property) {
    return Shrinker{
        std::move(plan),
        [=](const Outcome& outcome) { return outcome.violation && outcome.violation->property == property; }}
        .shrink();
}

}  // namespace redlock::sim

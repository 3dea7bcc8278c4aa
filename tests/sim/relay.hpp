// SPDX-License-Identifier: Apache-2.0
// In a world without faults, each waiter must get the lock by a notice, not by a later attempt of its own.
#pragma once

#include <chrono>
#include <string>

#include "sim/history.hpp"

namespace redlock::sim {

class Relay {
   public:
    Relay(const Plan& plan, const Instant& now, History& history)
        : now_{now}, history_{history}, bound_{plan.delay * delays_max + std::chrono::milliseconds{1}} {}

    /// A holder begins to release it.
    void release() noexcept { free_since_ = now_; }

    /// A waiter has acquired it. A waiter without a notice tries again after a second at the soonest.
    void take() {
        ++turns_;
        const std::chrono::nanoseconds took = now_ - free_since_;
        if (took <= bound_) return;
        history_.report(Property::progress, "who waited was not called: it took " +
                                                std::to_string(took.count()) + " ns, for messages of " +
                                                std::to_string(bound_.count() / delays_max) + " ns each");
    }

    [[nodiscard]] std::size_t turns() const noexcept { return turns_; }

   private:
    static constexpr int delays_max = 40;  // messages, one after another

    const Instant& now_;
    History& history_;
    std::chrono::nanoseconds bound_;
    Instant free_since_{0};
    std::size_t turns_ = 0;
};

}  // namespace redlock::sim

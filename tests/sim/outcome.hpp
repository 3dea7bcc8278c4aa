// SPDX-License-Identifier: Apache-2.0
// What is checked in a schedule, and the result.
#pragma once

#include <array>
#include <cstddef>
#include <optional>
#include <string>

#include "sim/clock.hpp"
#include "sim/plan.hpp"

namespace redlock::sim {

/// The properties that are checked, by the letters of docs/correctness.md.
enum class Property : char {
    exclusion = 'a',     ///< no two leases of one resource are valid at once
    no_orphans = 'b',    ///< no key outlives its ttl, and none is left after a release or a failure
    bounded = 'c',       ///< every call returns within its bound
    progress = 'd',      ///< when the faults have stopped, someone gets the lock; where there were
                         ///< none, a release notifies a waiter
    told_of_loss = 'e',  ///< lost() is triggered no later than the validity ends
    fencing = 'f',       ///< tokens are unique, and increase from one acquisition to the next
    service = 'g',       ///< a node can serve votes again within a bound after its trouble has ended
    few_connects = 'h',  ///< connects to a node are bounded in each second
    no_secrets = 'i',    ///< no text shows a password
    only_ours = 'j',     ///< nothing that is not ours is changed
    in_bounds = 'k',     ///< what waits to be written is bounded
    reason_told = 'm',   ///< where a node says why it ends a connection, that is the reason
    nothing_owed = 'l',  ///< no work is left for keys that cannot exist any more
    running = 'r',       ///< the simulation comes to its end
};

struct Violation {
    Property property;
    Instant at;
    std::string what;
};

/// The result of a schedule.
struct Outcome {
    std::optional<Violation> violation;
    std::size_t events = 0;
    std::size_t acquired = 0;
    std::size_t overlaps = 0;        ///< of validity intervals, with an assumption broken
    std::size_t fence_failures = 0;  ///< likewise
    std::array<std::size_t, Fault::kind_count> faults{};
    Instant lasted{0};
    std::string timeline;
};

}  // namespace redlock::sim

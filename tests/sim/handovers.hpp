// SPDX-License-Identifier: Apache-2.0
// Locks that were detached and that nobody has adopted yet.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "redlock/token.hpp"
#include "sim/random.hpp"

namespace redlock::sim {

struct HandedOver {
    std::vector<std::string> resources;
    Token token;
    std::vector<std::int64_t> fences;  ///< none: who adopts it takes fencing tokens of its own
};

/// The channel between the clients: it loses nothing, and delivers some hand-overs twice.
class HandOvers {
   public:
    void post(HandedOver what) { waiting_.push_back(std::move(what)); }

    [[nodiscard]] std::optional<HandedOver> take(Random& random) {
        if (waiting_.empty()) return std::nullopt;
        const auto at = static_cast<std::ptrdiff_t>(random.below(waiting_.size()));
        HandedOver taken = waiting_[static_cast<std::size_t>(at)];
        if (random.chance(60)) waiting_.erase(waiting_.begin() + at);
        return taken;
    }

   private:
    std::vector<HandedOver> waiting_;
};

}  // namespace redlock::sim

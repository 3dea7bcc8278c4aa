// SPDX-License-Identifier: Apache-2.0
// The verdict on exclusion: compares the times in which holders had the right to act, not those in which they
// ran.
#pragma once

#include <array>
#include <cstddef>
#include <map>
#include <string>
#include <vector>

#include "chaos/settings.hpp"
#include "chaos/shared_state.hpp"

namespace redlock::chaos {

class Judge {
   public:
    // In any order: a holder that was paused reports late.
    void add(const HoldRecord& record);
    // Holds that ended before this are not needed any more.
    void forget_before(Nanoseconds time);

    // One sentence each.
    [[nodiscard]] const std::vector<std::string>& violations() const { return violations_; }
    [[nodiscard]] std::size_t two_holders() const { return two_holders_; }
    [[nodiscard]] std::size_t tokens_out_of_order() const { return tokens_out_of_order_; }
    [[nodiscard]] std::size_t judged() const { return judged_; }

   private:
    using Holds = std::map<Nanoseconds, HoldRecord>;  // by their beginning

    void compare(const HoldRecord& first, const HoldRecord& second);
    void note(const char* what, const HoldRecord& first, const HoldRecord& second);

    std::array<Holds, resource_count> holds_;
    std::vector<std::string> violations_;
    std::size_t two_holders_ = 0;
    std::size_t tokens_out_of_order_ = 0;
    std::size_t judged_ = 0;
};

}  // namespace redlock::chaos

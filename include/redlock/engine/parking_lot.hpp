// SPDX-License-Identifier: Apache-2.0
// Where a thread parks while another drives.
#pragma once

#include <condition_variable>
#include <memory>
#include <vector>

namespace redlock::inline v0_1::detail {

/// Whether the thread is unparked is a flag of its Call, under the engine's mutex; so this may be notified
/// late.
using ParkingSpot = std::condition_variable;

/// Lends spots: a thread may still be notifying one when the call that it unparked has ended. It has as many
/// as ever were used at once. The engine's mutex guards it.
class ParkingLot {
   public:
    [[nodiscard]] ParkingSpot& borrow() {
        if (free_.empty()) add_spot();
        ParkingSpot* spot = free_.back();
        free_.pop_back();
        return *spot;
    }
    void give_back(ParkingSpot& spot) { free_.push_back(&spot); }

   private:
    void add_spot() {
        spots_.push_back(std::make_unique<ParkingSpot>());
        free_.reserve(spots_.capacity());  // giving one back allocates nothing
        free_.push_back(spots_.back().get());
    }

    std::vector<std::unique_ptr<ParkingSpot>> spots_;
    std::vector<ParkingSpot*> free_;
};

}  // namespace redlock::inline v0_1::detail

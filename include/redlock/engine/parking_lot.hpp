// SPDX-License-Identifier: Apache-2.0
// Where a thread parks while another drives.
#pragma once

#include <condition_variable>
#include <forward_list>
#include <utility>

namespace redlock::inline v0_1::detail {

/// Whether the thread is unparked is a flag of its Call, under the engine's mutex; so this may be notified
/// late.
class ParkingSpot : public std::condition_variable {
    friend class ParkingLot;
    ParkingSpot* next_free_ = nullptr;
};

/// Lends spots: a thread may still be notifying one when the call that it unparked has ended. It has as many
/// as ever were used at once. The engine's mutex guards it.
class ParkingLot {
   public:
    [[nodiscard]] ParkingSpot& borrow() {
        if (free_ == nullptr) return spots_.emplace_front();
        return *std::exchange(free_, free_->next_free_);
    }
    void give_back(ParkingSpot& spot) noexcept { spot.next_free_ = std::exchange(free_, &spot); }

   private:
    std::forward_list<ParkingSpot> spots_;
    ParkingSpot* free_ = nullptr;
};

}  // namespace redlock::inline v0_1::detail

// SPDX-License-Identifier: Apache-2.0
// Which of the waiting threads drives, and how the others park and are unparked.
#pragma once

#include <algorithm>
#include <atomic>
#include <chrono>
#include <mutex>
#include <thread>
#include <utility>
#include <vector>

#include "redlock/engine/call.hpp"
#include "redlock/engine/parking_lot.hpp"

namespace redlock::inline v0_1::detail {

/// The engine's mutex is held in all calls but those that say otherwise.
class DriverElection {
   public:
    using Lock = std::unique_lock<std::mutex>;

    // ---- the driver --------------------------------------------------------------------------------

    [[nodiscard]] bool has_driver() const noexcept { return has_driver_; }
    [[nodiscard]] bool is_driver() const noexcept {
        return has_driver_ && driver_ == std::this_thread::get_id();
    }

    void become_driver() noexcept {
        has_driver_ = true;
        driver_ = std::this_thread::get_id();
        set_waiting(false);
    }

    /// The call that parked first is to drive next. False: none is parked, and nobody drives from now on.
    bool hand_over(Lock& lock) {
        has_driver_ = !parked_.empty();
        if (!has_driver_) return false;
        next_driver_ = &parked_.first();
        ParkingSpot& spot = *next_driver_->spot;
        parked_.remove(*next_driver_);
        lock.unlock();
        spot.notify_one();
        lock.lock();
        return true;
    }

    /// Whether a call was named to drive next and has not begun; it need not any more.
    [[nodiscard]] bool withdraw_next() noexcept { return std::exchange(next_driver_, nullptr) != nullptr; }

    /// Whether the driver waits for something to happen. Both need no mutex.
    [[nodiscard]] bool is_waiting() const noexcept { return is_waiting_.load(std::memory_order_acquire); }
    void set_waiting(bool is_waiting) noexcept { is_waiting_.store(is_waiting, std::memory_order_release); }

    // ---- the others --------------------------------------------------------------------------------

    [[nodiscard]] bool has_parked() const noexcept { return !parked_.empty(); }

    /// Before the call parks.
    void add(Call& call) {
        call.spot = &parking_lot_.borrow();
        parked_.add(call);
    }

    /// False: it was not unparked before the timeout. Unlocks meanwhile.
    [[nodiscard]] bool park(Call& call, std::chrono::nanoseconds timeout, Lock& lock) {
        constexpr std::chrono::nanoseconds longest = std::chrono::hours{24 * 365};
        return call.spot->wait_for(lock, std::min(timeout, longest), [&call] { return !call.is_parked; });
    }

    /// After that. True: it is to drive.
    [[nodiscard]] bool remove(Call& call) {
        if (call.is_parked) parked_.remove(call);
        parking_lot_.give_back(*std::exchange(call.spot, nullptr));
        return next_driver_ == &call && withdraw_next();
    }

    // ---- finished calls ----------------------------------------------------------------------------

    /// Of a parked call only by the driver, who unparks it with all others that it has finished.
    void finish(Call& call) {
        call.is_finished = true;
        if (!call.is_parked) return;
        parked_.remove(call);
        to_unpark_.push_back(call.spot);
    }

    /// By any thread: the call is unparked at once.
    void interrupt(Call& call) noexcept {
        call.is_finished = true;
        if (!call.is_parked) return;
        parked_.remove(call);
        call.spot->notify_one();
    }

    /// By the driver, who needs no mutex for these two.
    [[nodiscard]] bool has_to_unpark() const noexcept { return !to_unpark_.empty(); }
    void unpark_finished() {
        for (ParkingSpot* spot : to_unpark_) spot->notify_one();
        to_unpark_.clear();
    }

   private:
    bool has_driver_ = false;
    std::thread::id driver_;
    Call* next_driver_ = nullptr;  ///< is to drive next and has not begun
    std::atomic<bool> is_waiting_{false};
    ParkedCalls parked_;
    ParkingLot parking_lot_;
    std::vector<ParkingSpot*> to_unpark_;  ///< the driver's
};

}  // namespace redlock::inline v0_1::detail

// SPDX-License-Identifier: Apache-2.0
// A caller that waits for its task.
#pragma once

#include "redlock/engine/parking_lot.hpp"

namespace redlock::inline v0_1::detail {

struct SuspendedBase;

/// What a call's own thread is to do for its coroutine, driving nothing meanwhile: it may call us.
struct Errand {
    virtual void run() noexcept = 0;

   protected:
    ~Errand() = default;
};

/// Fields without a word on it are guarded by the engine's mutex.
struct Call {
    Call() = default;
    Call(const Call&) = delete;
    Call& operator=(const Call&) = delete;

    bool finished = false;
    bool is_parked = false;  ///< in the list of sleepers; who takes it out must signal
    Call* previous = nullptr;
    Call* next = nullptr;

    bool is_background = false;        ///< set before attending: leaves when all is written or another waits
    bool cancelled = false;            ///< the driver's
    SuspendedBase* current = nullptr;  ///< the driver's: what its coroutine is suspended on

    Errand* errand = nullptr;     ///< where it is finished for the time being
    ParkingSpot* spot = nullptr;  ///< borrowed while asleep
};

/// First come, first to drive.
class ParkedCalls {
   public:
    [[nodiscard]] bool empty() const noexcept { return first_ == nullptr; }
    [[nodiscard]] Call& first() const noexcept { return *first_; }

    void add(Call& call) noexcept {
        call.is_parked = true;
        call.previous = last_;
        call.next = nullptr;
        (last_ != nullptr ? last_->next : first_) = &call;
        last_ = &call;
    }

    void remove(Call& call) noexcept {
        call.is_parked = false;
        (call.previous != nullptr ? call.previous->next : first_) = call.next;
        (call.next != nullptr ? call.next->previous : last_) = call.previous;
    }

   private:
    Call* first_ = nullptr;
    Call* last_ = nullptr;
};

}  // namespace redlock::inline v0_1::detail

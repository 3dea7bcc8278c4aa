// SPDX-License-Identifier: Apache-2.0
// A call whose thread waits for its end.
#pragma once

#include "redlock/engine/parking_lot.hpp"

namespace redlock::inline v0_1::detail {

struct SuspendedBase;

/// What a call's own thread does for its coroutine. It drives nothing meanwhile, so it may call us.
struct Errand {
    virtual void run() noexcept = 0;

   protected:
    ~Errand() = default;
};

/// The engine's mutex guards each field whose comment names no other owner.
struct Call {
    Call() = default;
    Call(const Call&) = delete;
    Call& operator=(const Call&) = delete;

    bool is_finished = false;
    bool is_parked = false;       ///< is one of the ParkedCalls; whoever removes it unparks its thread
    ParkingSpot* spot = nullptr;  ///< borrowed while it is parked
    Call* previous = nullptr;     ///< of the ParkedCalls
    Call* next = nullptr;
    Errand* errand = nullptr;  ///< the call is finished only until its thread has run this

    bool is_background = false;        ///< constant: its thread leaves when all is written or another waits
    bool cancelled = false;            ///< the driver's
    SuspendedBase* current = nullptr;  ///< the driver's: what its coroutine is suspended on
};

/// The first that parked is the first to drive.
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

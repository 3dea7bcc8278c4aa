// SPDX-License-Identifier: Apache-2.0
// A critical section under a lock: tells the supervisor how long the holder had the right to act, and changes
// the guarded counters.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "chaos/settings.hpp"
#include "chaos/shared_state.hpp"
#include "redlock/redlock.hpp"

namespace redlock::chaos {

[[nodiscard]] std::string resource_name(std::size_t index);

class Section {
   public:
    // Of the thread `worker`; where the lock is valid, the section has begun.
    Section(SharedMemory& shared, std::size_t worker, const Defects& defects, const Lock& lock);
    Section(const Section&) = delete;
    Section& operator=(const Section&) = delete;
    ~Section() { leave(); }

    // Whether the lock is valid at this moment. Notes until when it is, for the case that this process is
    // killed.
    [[nodiscard]] bool is_valid();
    // Reads the counters. False: a fence has refused it.
    [[nodiscard]] bool read();
    // Writes what was read, plus one.
    void write();
    // To be called before the lock is given up.
    void leave();

   private:
    struct Hold {
        std::size_t resource = 0;
        std::uint64_t token = 0;
        std::uint64_t value = 0;
    };

    [[nodiscard]] std::uint64_t token_for_fence(const Hold& hold) const;
    // Until when the holder had the right to act, where it has none now.
    [[nodiscard]] Nanoseconds end_of_validity() const;
    void note_refusal(const Hold& hold);

    SharedMemory& shared_;
    WorkerSlot& slot_;
    std::size_t worker_;
    const Defects& defects_;
    const Lock& lock_;
    std::vector<Hold> holds_;
    Nanoseconds valid_at_ = 0;  // when it was seen to be valid the last time
    bool is_open_ = false;
};

}  // namespace redlock::chaos

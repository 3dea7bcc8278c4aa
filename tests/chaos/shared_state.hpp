// SPDX-License-Identifier: Apache-2.0
// The memory that the supervisor and all clients share: who holds what, the guarded counters, statistics. It
// lies outside Redis, in a file that every process maps.
#pragma once

#include <pthread.h>

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <optional>
#include <string>

#include "chaos/settings.hpp"
#include "support/posix.hpp"

namespace redlock::chaos {

// What a worker does at the moment; in the report of one that hangs.
enum class Activity : std::uint32_t { nothing, locking, holding, extending, unlocking, detaching, adopting };
[[nodiscard]] const char* to_string(Activity activity);

// The time in which a holder had the right to act on a resource, as the library told it.
struct HoldRecord {
    std::uint64_t id = 0;  // unique
    std::uint32_t resource = 0;
    std::uint32_t worker = 0;
    Nanoseconds from = 0;
    Nanoseconds until = 0;
    std::uint64_t token = 0;
};

// A hold that has not ended. If its process is killed, the supervisor reads it here.
struct OpenHold {
    std::atomic<std::uint64_t> id{0};  // 0: none. Written last
    std::atomic<std::uint32_t> resource{0};
    std::atomic<Nanoseconds> from{0};
    std::atomic<Nanoseconds> until{0};
    std::atomic<std::uint64_t> token{0};
};

struct alignas(64) WorkerSlot {
    static constexpr std::size_t holds_max = 2;

    std::atomic<Nanoseconds> active_at{0};
    std::atomic<Nanoseconds> acquired_at{0};
    std::atomic<Activity> activity{Activity::nothing};
    std::array<OpenHold, holds_max> holds;
};

// The longest time in which nobody acquired, counted while the supervisor wants it.
struct Gap {
    static constexpr Nanoseconds not_counted = std::numeric_limits<Nanoseconds>::max();

    std::atomic<Nanoseconds> since{not_counted};
    std::atomic<Nanoseconds> longest{0};

    void note(Nanoseconds last_acquisition, Nanoseconds now);
};

// What a lock protects: a number that is read, and later written, by a holder. A fence stands before it.
class GuardedCounter {
   public:
    void initialise();

    // The number; nothing when the token is late.
    [[nodiscard]] std::optional<std::uint64_t> read(std::uint64_t token);
    // Whether it was written.
    [[nodiscard]] bool write(std::uint64_t token, std::uint64_t value);

    // Only while no client runs.
    [[nodiscard]] std::uint64_t value() const { return value_; }
    [[nodiscard]] std::uint64_t admitted_writes() const { return admitted_; }

   private:
    class Locked;

    bool admit(std::uint64_t token);
    void finish_write();

    pthread_mutex_t mutex_;  // robust and shared by processes: a client may be killed while it has it
    std::uint64_t largest_token_;
    std::uint64_t value_;
    std::uint64_t admitted_;
    // A write that began: the next owner of the mutex ends it if its writer was killed.
    volatile bool is_writing_;
    std::uint64_t next_value_;
    std::uint64_t next_admitted_;
};

struct Counts {
    using Count = std::atomic<std::uint64_t>;

    Count acquired{0};
    Count contended{0};
    Count unreachable{0};
    Count failed_otherwise{0};
    Count extended{0};
    Count extensions_failed{0};
    Count handed_over{0};
    Count adopted{0};
    Count adoptions_failed{0};
    Count outlived{0};        // sections whose validity ended before their work
    Count ended_early{0};     // … before its time, since a quorum said so
    Count late_refused{0};    // writes and reads of such holders that the fence refused
    Count valid_refused{0};   // … of valid holders: a violation
    Count unlocked_late{0};   // unlock() said that the lock was lost
    Count unlock_unknown{0};  // … that no quorum confirmed it
};

struct SharedState {
    std::atomic<std::uint64_t> next_hold{1};
    std::atomic<Nanoseconds> last_acquisition{0};
    Gap overall;
    Gap minority;  // while at most a minority of the nodes was in trouble
    Counts counts;
    std::array<WorkerSlot, worker_count> workers;
    std::array<GuardedCounter, resource_count> counters;

    void note_acquisition(WorkerSlot& worker, Nanoseconds now);
};

// The mapped file. The records of the holds that have ended are appended to another one beside it.
class SharedMemory {
   public:
    enum class Open { create, existing };

    SharedMemory(const std::string& directory, Open how);
    SharedMemory(const SharedMemory&) = delete;
    SharedMemory& operator=(const SharedMemory&) = delete;
    ~SharedMemory();

    [[nodiscard]] SharedState& operator*() const { return *state_; }
    [[nodiscard]] SharedState* operator->() const { return state_; }

    // One write(): it is there as a whole or not at all. Throws CannotRun.
    void append(const HoldRecord& record) const;
    // The next record that was appended, if any.
    [[nodiscard]] std::optional<HoldRecord> next_record();

   private:
    test::FileDescriptor records_;
    off_t read_ = 0;
    SharedState* state_ = nullptr;
};

}  // namespace redlock::chaos

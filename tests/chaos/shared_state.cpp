// SPDX-License-Identifier: Apache-2.0
#include "chaos/shared_state.hpp"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <new>
#include <system_error>

namespace redlock::chaos {

const char* to_string(Activity activity) {
    switch (activity) {
        case Activity::nothing: return "nothing";
        case Activity::locking: return "lock() or try_lock()";
        case Activity::holding: return "the critical section";
        case Activity::extending: return "extend()";
        case Activity::unlocking: return "unlock()";
        case Activity::detaching: return "detach()";
        case Activity::adopting: return "adopt()";
    }
    return "?";
}

void Gap::note(Nanoseconds last_acquisition, Nanoseconds now) {
    const Nanoseconds counted_since = since.load();
    if (counted_since == not_counted) return;
    const Nanoseconds gap = now - std::max(last_acquisition, counted_since);
    Nanoseconds known = longest.load();
    while (gap > known && !longest.compare_exchange_weak(known, gap)) continue;
}

void SharedState::note_acquisition(WorkerSlot& worker, Nanoseconds now) {
    const Nanoseconds last = last_acquisition.exchange(now);
    overall.note(last, now);
    minority.note(last, now);
    worker.acquired_at = now;
    ++counts.acquired;
}

// --- the guarded counter -----------------------------------------------------------------------------------

class GuardedCounter::Locked {
   public:
    explicit Locked(GuardedCounter& counter) : counter_{counter} {
        const int error = ::pthread_mutex_lock(&counter_.mutex_);
        if (error == EOWNERDEAD) {
            counter_.finish_write();
            ::pthread_mutex_consistent(&counter_.mutex_);
        } else if (error != 0) {
            throw std::system_error{error, std::generic_category(), "pthread_mutex_lock"};
        }
    }
    Locked(const Locked&) = delete;
    Locked& operator=(const Locked&) = delete;
    ~Locked() { ::pthread_mutex_unlock(&counter_.mutex_); }

   private:
    GuardedCounter& counter_;
};

void GuardedCounter::initialise() {
    pthread_mutexattr_t attributes;
    ::pthread_mutexattr_init(&attributes);
    ::pthread_mutexattr_setpshared(&attributes, PTHREAD_PROCESS_SHARED);
    ::pthread_mutexattr_setrobust(&attributes, PTHREAD_MUTEX_ROBUST);
    ::pthread_mutex_init(&mutex_, &attributes);
    ::pthread_mutexattr_destroy(&attributes);
    largest_token_ = value_ = admitted_ = next_value_ = next_admitted_ = 0;
    is_writing_ = false;
}

bool GuardedCounter::admit(std::uint64_t token) {
    if (token < largest_token_) return false;
    largest_token_ = token;
    return true;
}

void GuardedCounter::finish_write() {
    if (!is_writing_) return;
    value_ = next_value_;
    admitted_ = next_admitted_;
    std::atomic_signal_fence(std::memory_order_seq_cst);
    is_writing_ = false;
}

std::optional<std::uint64_t> GuardedCounter::read(std::uint64_t token) {
    const Locked locked{*this};
    if (!admit(token)) return std::nullopt;
    return value_;
}

bool GuardedCounter::write(std::uint64_t token, std::uint64_t value) {
    const Locked locked{*this};
    if (!admit(token)) return false;
    next_value_ = value;
    next_admitted_ = admitted_ + 1;
    std::atomic_signal_fence(std::memory_order_seq_cst);
    is_writing_ = true;
    std::atomic_signal_fence(std::memory_order_seq_cst);
    finish_write();
    return true;
}

// --- the files ---------------------------------------------------------------------------------------------

SharedMemory::SharedMemory(const std::string& directory, Open how) {
    const bool is_new = how == Open::create;
    const int flags = O_RDWR | O_CLOEXEC | (is_new ? O_CREAT | O_EXCL : 0);
    records_ = test::FileDescriptor{::open((directory + "/holds").c_str(), flags | O_APPEND, 0600)};
    const test::FileDescriptor file{::open((directory + "/state").c_str(), flags, 0600)};
    if (!records_ || !file) test::throw_errno("the shared files in " + directory);
    // All of its blocks now: a write to a mapped page for which the disk has no room ends the process.
    if (is_new) errno = ::posix_fallocate(file.get(), 0, sizeof(SharedState));
    if (is_new && errno != 0) test::throw_errno("room for the shared file in " + directory);
    void* address = ::mmap(nullptr, sizeof(SharedState), PROT_READ | PROT_WRITE, MAP_SHARED, file.get(), 0);
    if (address == MAP_FAILED) test::throw_errno("mmap");
    state_ = is_new ? new (address) SharedState : static_cast<SharedState*>(address);
    if (!is_new) return;
    for (GuardedCounter& counter : state_->counters) counter.initialise();
}

SharedMemory::~SharedMemory() { ::munmap(state_, sizeof(SharedState)); }

void SharedMemory::append(const HoldRecord& record) const {
    if (::write(records_.get(), &record, sizeof record) == sizeof record) return;
    throw CannotRun{"cannot write the record of a hold: is the disk full?"};
}

std::optional<HoldRecord> SharedMemory::next_record() {
    HoldRecord record;
    const auto got = ::pread(records_.get(), &record, sizeof record, read_);
    if (got != sizeof record) return std::nullopt;
    read_ += got;
    return record;
}

}  // namespace redlock::chaos

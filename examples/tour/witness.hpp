// SPDX-License-Identifier: Apache-2.0
// Checks that the lock works: memory that the workers share, independent of the nodes and the library.
#pragma once

#include <sys/mman.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstdint>
#include <system_error>

namespace tour {

/// Each holder calls enter() after locking and leave() before unlocking. Placed in shared memory.
struct Witness {
    std::atomic<int> holder{0};  ///< 0: nobody
    std::atomic<std::uint64_t> last_token{0};
    std::atomic<std::uint64_t> entries{0};
    std::atomic<std::uint64_t> overlaps{0};   ///< another holder had entered already, or entered meanwhile
    std::atomic<std::uint64_t> disorders{0};  ///< a fencing token that was not above the one before

    void enter(int worker, std::uint64_t token) noexcept {
        ++entries;
        if (holder.exchange(worker) != 0) ++overlaps;
        if (last_token.exchange(token) >= token) ++disorders;
    }

    void leave(int worker) noexcept {
        if (!holder.compare_exchange_strong(worker, 0)) ++overlaps;
    }

    /// leave() for a worker that was killed.
    void bury(int worker) noexcept { holder.compare_exchange_strong(worker, 0); }
};

inline int make_witness_file() {
    const int fd = ::memfd_create("tour-witness", 0);
    if (fd < 0 || ::ftruncate(fd, sizeof(Witness)) != 0) {
        throw std::system_error{errno, std::generic_category(), "shared memory"};
    }
    return fd;
}

/// The file is zero at first, which is the state of a new Witness.
inline Witness& map_witness(int fd) {
    void* memory = ::mmap(nullptr, sizeof(Witness), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (memory == MAP_FAILED) throw std::system_error{errno, std::generic_category(), "shared memory"};
    return *static_cast<Witness*>(memory);
}

}  // namespace tour

// SPDX-License-Identifier: Apache-2.0
// What proves that the lock works: memory that the workers share, beside the nodes and the library.
#pragma once

#include <sys/mman.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstdint>
#include <system_error>

namespace tour {

/// Who has the lock signs in, and signs out before unlocking. Lies in shared memory.
struct Witness {
    std::atomic<int> holder{0};  ///< 0: nobody
    std::atomic<std::uint64_t> last_token{0};
    std::atomic<std::uint64_t> entries{0};
    std::atomic<std::uint64_t> overlaps{0};   ///< someone was in already, or came in meanwhile
    std::atomic<std::uint64_t> disorders{0};  ///< a fencing token that was not above the one before

    void enter(int worker, std::uint64_t token) noexcept {
        ++entries;
        if (holder.exchange(worker) != 0) ++overlaps;
        if (last_token.exchange(token) >= token) ++disorders;
    }

    void leave(int worker) noexcept {
        if (!holder.compare_exchange_strong(worker, 0)) ++overlaps;
    }

    /// On behalf of one that was killed.
    void bury(int worker) noexcept { holder.compare_exchange_strong(worker, 0); }
};

inline int make_witness_file() {
    const int fd = ::memfd_create("tour-witness", 0);
    if (fd < 0 || ::ftruncate(fd, sizeof(Witness)) != 0) {
        throw std::system_error{errno, std::generic_category(), "shared memory"};
    }
    return fd;
}

/// All of it is zero at first, as a fresh Witness is.
inline Witness& map_witness(int fd) {
    void* memory = ::mmap(nullptr, sizeof(Witness), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (memory == MAP_FAILED) throw std::system_error{errno, std::generic_category(), "shared memory"};
    return *static_cast<Witness*>(memory);
}

}  // namespace tour

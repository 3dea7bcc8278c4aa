// SPDX-License-Identifier: Apache-2.0
// Whether the process was forked after an object was made.
#pragma once

#include <sys/mman.h>
#include <sys/types.h>
#include <unistd.h>

#include <atomic>
#include <cstddef>

namespace redlock::inline v0_1::detail {

/// Remembers the process that made it. To ask costs a load, since the kernel wipes a page of memory in a
/// forked child (MADV_WIPEONFORK, since Linux 4.14); a process id would cost a system call on every
/// operation.
class ForkMark {
   public:
    [[nodiscard]] bool is_forked() const noexcept {
        return page_ != nullptr ? *page_ == 0 : ::getpid() != pid_;
    }

   private:
    using Byte = volatile unsigned char;

    /// One page for all marks of a process; it is never freed.
    [[nodiscard]] static Byte* page_of_process() noexcept {
        static std::atomic<Byte*> current{nullptr};
        Byte* page = current.load(std::memory_order_acquire);
        if (page != nullptr && *page != 0) return page;
        Byte* fresh = make_page();
        if (fresh != nullptr && !current.compare_exchange_strong(page, fresh)) {
            ::munmap(const_cast<unsigned char*>(fresh), page_size());  // NOLINT(*-const-cast)
            return page;
        }
        return fresh;
    }

    [[nodiscard]] static Byte* make_page() noexcept {
#ifdef MADV_WIPEONFORK
        void* memory =
            ::mmap(nullptr, page_size(), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (memory == MAP_FAILED) return nullptr;
        if (::madvise(memory, page_size(), MADV_WIPEONFORK) == 0) {
            auto* page = static_cast<unsigned char*>(memory);
            *page = 1;
            return page;
        }
        ::munmap(memory, page_size());
#endif
        return nullptr;
    }

    [[nodiscard]] static std::size_t page_size() noexcept {
        return static_cast<std::size_t>(::sysconf(_SC_PAGESIZE));
    }

    Byte* page_ = page_of_process();
    pid_t pid_ = ::getpid();
};

}  // namespace redlock::inline v0_1::detail

// SPDX-License-Identifier: Apache-2.0
// Where a thread parks while another drives.
//
// A futex word for each parked thread. std::binary_semaphore would be shorter and as fast with libstdc++, but
// libc++ waits for one with a timeout by polling.
#pragma once

#include <linux/futex.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

namespace redlock::inline v0_1::detail {

/// One thread parks here at a time, and is unparked at most once for that.
class ParkingSpot {
   public:
    void unpark() noexcept {
        is_unparked_.store(1, std::memory_order_release);
        futex(FUTEX_WAKE, 1, nullptr);
    }

    /// Returns when unpark() was called, before or meanwhile. False: the timeout has passed before that.
    bool park(std::optional<std::chrono::nanoseconds> timeout) noexcept {
        timespec until{};
        if (timeout) until = after(*timeout);
        for (bool is_over = false;;) {
            if (is_unparked_.exchange(0, std::memory_order_acquire) != 0) return true;
            if (is_over) return false;
            const long status = futex(FUTEX_WAIT_BITSET, 0, timeout ? &until : nullptr);
            is_over = status != 0 && errno == ETIMEDOUT;
        }
    }

   private:
    /// Waits only while the word has this value; `until` is on CLOCK_MONOTONIC.
    long futex(int operation, std::uint32_t value, const timespec* until) noexcept {
        return ::syscall(number(), &is_unparked_, operation | FUTEX_PRIVATE_FLAG, value, until, nullptr,
                         FUTEX_BITSET_MATCH_ANY);
    }

    /// 32-bit systems have two such calls, for the two sizes of a timespec.
    [[nodiscard]] static constexpr long number() noexcept {
#ifdef SYS_futex_time64
        if (sizeof(time_t) > sizeof(long)) return SYS_futex_time64;
#endif
        return SYS_futex;
    }

    [[nodiscard]] static timespec after(std::chrono::nanoseconds timeout) noexcept {
        constexpr std::chrono::nanoseconds longest = std::chrono::hours{24 * 365};
        constexpr std::int64_t second = 1'000'000'000;
        timespec time{};
        ::clock_gettime(CLOCK_MONOTONIC, &time);
        const std::int64_t ns =
            time.tv_nsec + std::clamp(timeout, std::chrono::nanoseconds{0}, longest).count();
        time.tv_sec += ns / second;
        time.tv_nsec = ns % second;
        return time;
    }

    std::atomic<std::uint32_t> is_unparked_{0};
    static_assert(sizeof(std::atomic<std::uint32_t>) == sizeof(std::uint32_t), "the kernel reads the word");
};

/// Lends spots: a thread may still be in unpark() when the call that it unparked has ended. It has as many as
/// ever were used at once. The engine's mutex guards it.
class ParkingLot {
   public:
    [[nodiscard]] ParkingSpot& borrow() {
        if (free_.empty()) add_spot();
        ParkingSpot* spot = free_.back();
        free_.pop_back();
        return *spot;
    }
    void give_back(ParkingSpot& spot) { free_.push_back(&spot); }

   private:
    void add_spot() {
        spots_.push_back(std::make_unique<ParkingSpot>());
        free_.reserve(spots_.capacity());  // giving one back allocates nothing
        free_.push_back(spots_.back().get());
    }

    std::vector<std::unique_ptr<ParkingSpot>> spots_;
    std::vector<ParkingSpot*> free_;
};

}  // namespace redlock::inline v0_1::detail

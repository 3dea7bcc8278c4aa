// SPDX-License-Identifier: Apache-2.0
// Where a caller sleeps while another drives.
//
// A turn of the driver may finish many calls. Woken one by one, each of them would preempt the driver that
// is about to wake the next; so up to 32 sleep on one word, and any of these are woken by one system call.
#pragma once

#include <linux/futex.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <climits>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

namespace redlock::inline v0_1::detail {

/// Why a sleeper was woken.
enum class WakeReason : std::uint8_t { none, finished, drive };

/// The word that seats share. It counts the wakings, so that none falls between a look at the signal and
/// the sleep.
class SharedFutex {
   public:
    using Bits = std::uint32_t;
    static constexpr std::size_t seat_count = 32;

    [[nodiscard]] Bits wakings() const noexcept { return wakings_.load(std::memory_order_acquire); }

    void wake(Bits seats) noexcept {
        wakings_.fetch_add(1, std::memory_order_release);
        futex(FUTEX_WAKE_BITSET, INT_MAX, nullptr, seats);
    }

    /// Sleeps if nobody has been woken since `seen`; false when the time is over, on CLOCK_MONOTONIC.
    bool sleep(Bits seen, Bits spot, const timespec* until) noexcept {
        return futex(FUTEX_WAIT_BITSET, seen, until, spot) == 0 || errno != ETIMEDOUT;
    }

   private:
    long futex(int operation, Bits value, const timespec* until, Bits seats) noexcept {
        return ::syscall(number(), &wakings_, operation | FUTEX_PRIVATE_FLAG, value, until, nullptr, seats);
    }

    /// 32-bit systems have two such calls, for the two sizes of a timespec.
    [[nodiscard]] static constexpr long number() noexcept {
#ifdef SYS_futex_time64
        if (sizeof(time_t) > sizeof(long)) return SYS_futex_time64;
#endif
        return SYS_futex;
    }

    std::atomic<Bits> wakings_{0};
    static_assert(sizeof(std::atomic<Bits>) == sizeof(Bits), "the kernel looks at the word itself");
};

/// Seats belong to the engine and are lent: whoever wakes a sleeper may still be doing so when that has
/// long gone, and no lock need be held over it.
class ParkingSpot {
   public:
    ParkingSpot(SharedFutex& row, SharedFutex::Bits bit) noexcept : row_{row}, bit_{bit} {}

    void wake(WakeReason why) noexcept {
        signal_.store(why, std::memory_order_release);
        row_.wake(bit_);
    }

    /// Wakes all of them, and forgets them.
    static void wake_all(std::vector<ParkingSpot*>& seats, WakeReason why) {
        for (ParkingSpot* spot : seats) spot->signal_.store(why, std::memory_order_release);
        while (!seats.empty()) {
            SharedFutex& row = seats.back()->row_;
            SharedFutex::Bits bits = 0;
            std::erase_if(seats, [&](const ParkingSpot* spot) {
                if (&spot->row_ != &row) return false;
                bits |= spot->bit_;
                return true;
            });
            row.wake(bits);
        }
    }

    /// Sleeps until wake() or the timeout; Signal::none after the latter.
    WakeReason sleep(std::optional<std::chrono::nanoseconds> timeout) noexcept {
        timespec until{};
        if (timeout) until = after(*timeout);
        for (bool is_over = false;;) {
            const SharedFutex::Bits seen = row_.wakings();
            const WakeReason why = signal_.exchange(WakeReason::none, std::memory_order_acquire);
            if (why != WakeReason::none || is_over) return why;
            is_over = !row_.sleep(seen, bit_, timeout ? &until : nullptr);
        }
    }

   private:
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

    SharedFutex& row_;
    const SharedFutex::Bits bit_;
    std::atomic<WakeReason> signal_{WakeReason::none};
};

/// All seats of an engine; as many as ever slept at once. Guarded by the engine's mutex.
class ParkingLot {
   public:
    [[nodiscard]] ParkingSpot* borrow() {
        if (free_.empty()) add_row();
        ParkingSpot* spot = free_.back();
        free_.pop_back();
        return spot;
    }
    void give_back(ParkingSpot* spot) { free_.push_back(spot); }

   private:
    void add_row() {
        SharedFutex& row = *rows_.emplace_back(std::make_unique<SharedFutex>());
        free_.reserve(rows_.size() * SharedFutex::seat_count);
        for (std::size_t i = 0; i < SharedFutex::seat_count; ++i) {
            const auto bit = SharedFutex::Bits{1} << i;
            free_.push_back(parking_lot_.emplace_back(std::make_unique<ParkingSpot>(row, bit)).get());
        }
    }

    std::vector<std::unique_ptr<SharedFutex>> rows_;
    std::vector<std::unique_ptr<ParkingSpot>> parking_lot_;
    std::vector<ParkingSpot*> free_;
};

}  // namespace redlock::inline v0_1::detail

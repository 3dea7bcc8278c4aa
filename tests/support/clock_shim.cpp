// SPDX-License-Identifier: Apache-2.0
// Moves a process's wall clock. Tests load it into a server with LD_PRELOAD.
//
// The file "clock-offset", in the directory where the process starts, holds the offset in microseconds. The
// shim creates the file if it does not exist. Writing to it moves the clock at once. Only the wall clock
// moves: a monotonic clock does not jump on a real machine either.

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <unistd.h>

#include <cstdint>
#include <ctime>

namespace {

const volatile std::int64_t* offset_us = nullptr;

[[gnu::constructor]] void map_offset() {
    const int file = ::open("clock-offset", O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (file < 0) return;
    if (::ftruncate(file, sizeof(std::int64_t)) == 0) {
        void* page = ::mmap(nullptr, sizeof(std::int64_t), PROT_READ, MAP_SHARED, file, 0);
        if (page != MAP_FAILED) offset_us = static_cast<const std::int64_t*>(page);
    }
    ::close(file);
}

// Asks the kernel directly, since this file replaces the functions of the C library.
timespec shifted(clockid_t clock) {
    timespec time{};
    ::syscall(SYS_clock_gettime, clock, &time);
    const bool is_wall = clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE;
    if (!is_wall || offset_us == nullptr) return time;
    constexpr std::int64_t second = 1'000'000'000;
    const std::int64_t offset = *offset_us;
    std::int64_t nanoseconds = time.tv_nsec + offset % 1'000'000 * 1'000;
    time.tv_sec += offset / 1'000'000;
    if (nanoseconds < 0) nanoseconds += second, --time.tv_sec;
    if (nanoseconds >= second) nanoseconds -= second, ++time.tv_sec;
    time.tv_nsec = nanoseconds;
    return time;
}

}  // namespace

extern "C" {

int clock_gettime(clockid_t clock, timespec* time) noexcept {
    *time = shifted(clock);
    return 0;
}

int gettimeofday(timeval* time, void* /*zone*/) noexcept {
    const timespec now = shifted(CLOCK_REALTIME);
    time->tv_sec = now.tv_sec;
    time->tv_usec = now.tv_nsec / 1'000;
    return 0;
}

time_t time(time_t* seconds) noexcept {
    const timespec now = shifted(CLOCK_REALTIME);
    if (seconds != nullptr) *seconds = now.tv_sec;
    return now.tv_sec;
}

}  // extern "C"

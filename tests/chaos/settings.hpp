// SPDX-License-Identifier: Apache-2.0
// What the supervisor and its clients have to agree on.
#pragma once

#include <time.h>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

namespace redlock::chaos {

inline constexpr std::size_t node_count = 5;
inline constexpr std::size_t minority = 2;  // of the nodes
inline constexpr std::size_t client_count = 6;
inline constexpr std::size_t threads_per_client = 4;
inline constexpr std::size_t worker_count = client_count * threads_per_client;
inline constexpr std::size_t resource_count = 12;

// The ttls in use, extensions included. A quarantine is as long as the longest.
inline constexpr std::chrono::milliseconds short_ttl{800};
inline constexpr std::chrono::milliseconds longest_ttl{2000};
inline constexpr std::chrono::milliseconds longest_wait{2000};

// Time on CLOCK_BOOTTIME, which all processes of the machine share and which no process's pause stops.
using Nanoseconds = std::int64_t;
[[nodiscard]] inline Nanoseconds time_now() {
    timespec time{};
    ::clock_gettime(CLOCK_BOOTTIME, &time);
    return std::int64_t{time.tv_sec} * 1'000'000'000 + time.tv_nsec;
}
[[nodiscard]] constexpr Nanoseconds ns(std::chrono::nanoseconds duration) { return duration.count(); }

// Deliberate defects of the clients, each of which the checks have to see.
struct Defects {
    bool quorum = false;    // each client locks at one node only
    bool fence = false;     // writes carry no fencing token
    bool validity = false;  // holders go on after their validity has ended
    bool crash = false;     // a client ends by itself
    bool hang = false;      // a worker stops working

    // Switches one on by its name. False: there is no such defect.
    bool set(std::string_view name);
};

// What a client process is told.
struct ClientSettings {
    std::size_t client = 0;
    std::uint64_t seed = 0;
    std::chrono::milliseconds quarantine{0};
    Defects defects;
    std::string directory;           // of the shared state and the hand-overs
    std::vector<std::string> nodes;  // URIs

    // What stands on the command line behind the program's name and "client".
    [[nodiscard]] std::vector<std::string> arguments() const;
    [[nodiscard]] static ClientSettings parse(const std::vector<std::string>& arguments);
};

// The digits of `text` as a number, if it is one.
[[nodiscard]] std::optional<std::uint64_t> number(std::string_view text);

// Not a failed check: a disk is full, or the like.
struct CannotRun : std::runtime_error {
    using std::runtime_error::runtime_error;
};
// The exit status of a client that says so.
inline constexpr int exit_cannot_run = 3;

}  // namespace redlock::chaos

// SPDX-License-Identifier: Apache-2.0
// The faults of a run, drawn from a seed before it begins.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <random>
#include <string>
#include <vector>

#include "chaos/settings.hpp"

namespace redlock::chaos {

enum class FaultKind : std::uint8_t {
    // of nodes
    kill_keep,    // SIGKILL, and a restart with the data
    kill_forget,  // … without the data
    stop,         // SIGSTOP, SIGCONT
    replica,      // REPLICAOF and back
    client_pause,
    flood,           // other commands, as many as the node takes
    partition,       // bytes wait, and arrive late
    half_partition,  // … only those of the replies
    blackhole,       // bytes are accepted and vanish
    delay,
    reset,  // connections are closed
    // of clients
    pause_client,  // SIGSTOP beyond the ttl, SIGCONT
    kill_client,   // SIGKILL, and another one in its place
};
inline constexpr std::size_t fault_kind_count = 13;
[[nodiscard]] const char* to_string(FaultKind kind);
[[nodiscard]] bool is_of_client(FaultKind kind);

struct Fault {
    std::chrono::milliseconds at{0};  // from the beginning of the part
    std::chrono::milliseconds lasts{0};
    FaultKind kind = FaultKind::stop;
    std::vector<std::size_t> targets;    // nodes, or one client
    std::chrono::milliseconds delay{0};  // of FaultKind::delay
};

// A run has three parts, each with clients of its own.
struct Part {
    const char* name = "";
    std::chrono::milliseconds lasts{0};
    std::chrono::milliseconds quarantine{0};  // of the clients
    bool may_forget = false;                  // nodes may lose their data
    bool is_majority_struck = false;          // now and then
};

// `total` is shared out among the parts.
[[nodiscard]] std::vector<Part> parts_of(std::chrono::milliseconds total);

// How long a node that was restarted does not vote, at most.
[[nodiscard]] std::chrono::milliseconds quarantine_of_restarted(const Part& part);

// In the order of their beginnings. But in the part in which a majority is struck, at most a minority of the
// nodes is in trouble at a time.
[[nodiscard]] std::vector<Fault> plan_of(const Part& part, std::mt19937_64& random);

}  // namespace redlock::chaos

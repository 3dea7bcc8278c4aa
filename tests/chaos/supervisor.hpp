// SPDX-License-Identifier: Apache-2.0
// Starts nodes and clients, does the faults of the plan to them, and judges.
#pragma once

#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <random>
#include <stdexcept>
#include <string>
#include <vector>

#include "chaos/judge.hpp"
#include "chaos/nodes.hpp"
#include "chaos/plan.hpp"
#include "chaos/settings.hpp"
#include "chaos/shared_state.hpp"
#include "support/child_process.hpp"
#include "support/posix.hpp"

namespace redlock::chaos {

struct RunSettings {
    std::chrono::seconds lasts{60};
    std::uint64_t seed = 0;
    Defects defects;
};

// A signal has asked for the end.
struct Interrupted : std::runtime_error {
    Interrupted() : std::runtime_error{"interrupted"} {}
};

class Supervisor {
   public:
    explicit Supervisor(const RunSettings& settings);

    // Returns whether all checks passed. Throws Interrupted, or another exception where it cannot be run.
    bool run();
    // Whether a signal has asked for the end.
    [[nodiscard]] bool is_interrupted() const;
    // Of what has been done so far.
    void report();

   private:
    struct Client {
        test::ChildProcess process;
        bool is_expected_to_run = false;
        bool is_paused = false;
        Nanoseconds resumed_at = 0;
    };

    void run_part(const Part& part);
    void play(const std::vector<Fault>& plan);
    void begin(const Fault& fault);
    void end(const Fault& fault);
    void begin_client_fault(const Fault& fault);
    void end_client_fault(const Fault& fault);
    void start_client(std::size_t index);
    void kill_client(std::size_t index);
    void stop_clients();
    void heal();

    // Waits, for `longest` at most, for a signal to this process, and then looks at everything once.
    void wait(std::chrono::nanoseconds longest);
    [[nodiscard]] bool is_signalled_within(std::chrono::nanoseconds longest) const;
    void look();
    void look_at_clients();
    void look_at_workers();
    void read_records();
    void compare_counters();
    void count_gaps(bool is_minority);
    // Every worker gets a lock again, when all is well.
    void expect_everybody_to_acquire();
    // Every key ends by its ttl, when no client is left.
    void expect_no_keys();
    void violate(const std::string& what);
    void print_progress();
    [[nodiscard]] std::string output_of(std::size_t client) const;
    [[nodiscard]] std::size_t violation_count() const;
    [[nodiscard]] bool is_to_stop() const;

    RunSettings settings_;
    std::mt19937_64 random_;
    test::TemporaryDirectory directory_;
    test::FileDescriptor signals_;
    Nodes nodes_;
    SharedMemory shared_;
    Judge judge_;
    std::array<Client, client_count> clients_;
    Part part_;
    std::vector<std::string> violations_;  // but for those that the judge has
    std::size_t printed_of_judge_ = 0;
    std::array<std::size_t, fault_kind_count> faults_{};
    std::size_t faults_of_majority_ = 0;
    std::size_t faults_left_out_ = 0;
    std::uint64_t generation_ = 0;  // of a client: each gets other random numbers
    std::uint64_t valid_refused_seen_ = 0;
    Nanoseconds began_at_ = 0;
    Nanoseconds looked_at_ = 0;
    Nanoseconds progress_at_ = 0;
    std::chrono::nanoseconds longest_recovery_{0};
};

}  // namespace redlock::chaos

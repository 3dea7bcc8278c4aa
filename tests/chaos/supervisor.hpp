// SPDX-License-Identifier: Apache-2.0
// Starts nodes and clients, does the faults of the plan to them, and judges.
#pragma once

#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <random>
#include <string>
#include <vector>

#include "chaos/clients.hpp"
#include "chaos/end_signals.hpp"
#include "chaos/judge.hpp"
#include "chaos/nodes.hpp"
#include "chaos/plan.hpp"
#include "chaos/settings.hpp"
#include "chaos/shared_state.hpp"
#include "support/posix.hpp"

namespace redlock::chaos {

struct RunSettings {
    std::chrono::seconds lasts{60};
    std::uint64_t seed = 0;
    Defects defects;
};

class Supervisor {
   public:
    Supervisor(const RunSettings& settings, const EndSignals& signals);

    // Returns whether all checks passed. Throws where a signal ends it or it cannot be run.
    bool run();
    // Of what has been done so far.
    void report();

   private:
    void run_part(const Part& part);
    void play(const std::vector<Fault>& plan, std::chrono::milliseconds lasts);
    void begin(const Fault& fault);
    void end(const Fault& fault);

    // Waits, for `longest` at most, for a signal to this process, and then looks at everything once.
    void wait(std::chrono::nanoseconds longest);
    void look();
    void read_records();
    void compare_counters();
    void count_gaps(bool is_minority);
    // Every worker gets a lock again, when all is well.
    void expect_everybody_to_acquire();
    // Every key ends by its ttl, when no client is left.
    void expect_no_keys();
    void violate(const std::string& what);
    void print_progress();
    [[nodiscard]] std::size_t violation_count() const;
    [[nodiscard]] bool is_to_stop() const;

    RunSettings settings_;
    const EndSignals& signals_;
    std::mt19937_64 random_;
    test::TemporaryDirectory directory_;
    Nodes nodes_;
    SharedMemory shared_;
    Clients clients_;
    Judge judge_;
    std::vector<std::string> violations_;  // but for those that the judge has
    std::size_t printed_of_judge_ = 0;
    std::array<std::size_t, fault_kind_count> faults_{};
    std::size_t faults_of_majority_ = 0;
    std::size_t faults_left_out_ = 0;
    std::uint64_t valid_refused_seen_ = 0;
    Nanoseconds began_at_ = 0;
    Nanoseconds looked_at_ = 0;
    Nanoseconds progress_at_ = 0;
    std::chrono::nanoseconds longest_recovery_{0};
};

}  // namespace redlock::chaos

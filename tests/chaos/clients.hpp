// SPDX-License-Identifier: Apache-2.0
// The client processes: started, paused, killed and told to end; and whether one of them crashes or hangs.
#pragma once

#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "chaos/plan.hpp"
#include "chaos/settings.hpp"
#include "chaos/shared_state.hpp"
#include "support/child_process.hpp"

namespace redlock::chaos {

class Clients {
   public:
    // A worker that does nothing for so long hangs. It is far more than any call may take, also where a
    // paused client has the mutex of a guarded counter.
    static constexpr std::chrono::seconds hang_after{20};

    // All clients get these settings, each with its own number and seed.
    Clients(const ClientSettings& common, SharedState& shared) : settings_{common}, shared_{shared} {}

    // From now on.
    void set_quarantine(std::chrono::milliseconds quarantine) { settings_.quarantine = quarantine; }

    // Starts those that do not run.
    void start_all();
    void begin(const Fault& fault);
    void end(const Fault& fault);
    // Continues those that are paused, and starts those that were killed.
    void heal();
    // Tells all to end and waits until they have.
    void stop_all();

    // What is wrong: one has ended by itself, or hangs. Throws CannotRun where a client says so.
    [[nodiscard]] std::vector<std::string> problems();
    // The holds of clients that were killed, as far as they are known.
    [[nodiscard]] std::vector<HoldRecord> take_abandoned_holds();
    // The end of what a client has printed.
    [[nodiscard]] std::string output_of(std::size_t client) const;

   private:
    struct Client {
        test::ChildProcess process;
        bool is_expected_to_run = false;
        bool is_paused = false;
        Nanoseconds resumed_at = 0;
    };

    void start(std::size_t index);
    void kill(std::size_t index);
    void resume(Client& client);
    void note_end(std::size_t index);
    void note_hanging_workers();

    ClientSettings settings_;
    SharedState& shared_;
    std::uint64_t started_ = 0;
    std::array<Client, client_count> clients_;
    std::vector<HoldRecord> abandoned_;
    std::vector<std::string> problems_;
};

}  // namespace redlock::chaos

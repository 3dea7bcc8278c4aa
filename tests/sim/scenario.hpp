// SPDX-License-Identifier: Apache-2.0
// One chosen schedule: its calls, faults and delays are fixed and not drawn. Its result is a timeline.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "sim/clock.hpp"
#include "sim/events.hpp"
#include "sim/network.hpp"
#include "sim/plan.hpp"
#include "sim/scenario_client.hpp"
#include "sim/timeline.hpp"
#include "sim/timeline_writer.hpp"

namespace redlock::sim {

/// Clients A, B and so on, and nodes n1, n2 and so on, with a millisecond between any two of them. Every
/// client is connected to every node when the timeline begins.
class Scenario {
   public:
    struct Setup {
        std::uint32_t clients = 1;
        std::uint32_t nodes = 3;
        milliseconds quarantine{0};
        bool notify = true;
    };

    /// `about`: what it shows, in a few lines, with a line's end before the first and after the last.
    Scenario(std::string_view about, const Setup& setup)
        : about_{about.substr(1)},
          timeline_{now_, zero, epoch_us + 1000 * zero_ms - first_fence},
          plan_{make_plan(setup)},
          network_{plan_, now_, queue_, unused_} {
        for (std::uint32_t c = 0; c < setup.clients; ++c) {
            clients_.emplace_back(network_, timeline_, c, zero);
            for (std::uint32_t n = 0; n < setup.nodes; ++n) timeline_.set_delay({c, n}, milliseconds{1});
        }
    }
    Scenario(const Scenario&) = delete;
    Scenario& operator=(const Scenario&) = delete;

    [[nodiscard]] ScenarioClient& client(std::size_t index) { return clients_[index]; }
    [[nodiscard]] SimNode& node(std::size_t index) { return network_.nodes()[index]; }
    [[nodiscard]] Network& network() noexcept { return network_; }
    [[nodiscard]] TimelineWriter& timeline() noexcept { return timeline_; }
    [[nodiscard]] static Instant instant_of(milliseconds when) { return zero + when; }

    /// A fault begins or ends. The text is written into the timeline.
    void at(milliseconds when, std::string text, std::function<void()> action) {
        incidents_.push_back({std::move(text), std::move(action)});
        queue_.add(instant_of(when), Event::Kind::fault, static_cast<std::uint32_t>(incidents_.size() - 1));
    }
    /// A client begins its steps.
    void start(milliseconds when, std::size_t client, ScenarioClient::Steps (*steps)(ScenarioClient&)) {
        at(when, {}, [this, client, steps] {
            clients_[client].start(steps(clients_[client]));
            step(client);
        });
    }
    void comment(milliseconds when, std::string text) {
        timeline_.comment(instant_of(when), std::move(text));
    }

    /// Before the timeline begins. `shown`: as in the timeline.
    void set_counter(std::size_t index, std::int64_t shown) {
        const std::string value = std::to_string(timeline_.names().fence_of(shown));
        run_at(index, {"SET", detail::fence_key("orders/42"), value, "PX", "86400000"});
    }
    /// Runs a command on a node that comes from none of our clients.
    void run_at(std::size_t index, const std::vector<std::string>& command) {
        const std::vector<std::string_view> parts(command.begin(), command.end());
        static_cast<void>(node(index).execute(parts));
    }

    /// The timeline until then.
    std::string run_until(milliseconds end) {
        for (std::uint32_t c = 0; c < clients_.size(); ++c) {
            clients_[c].connect();
            step(c);
        }
        while (!queue_.empty() && queue_.next().at <= instant_of(end)) process(queue_.take());
        timeline_.stop();
        for (ScenarioClient& client : clients_) client.end();
        return about_ + "\n" + timeline_.text();
    }

   private:
    static constexpr std::int64_t zero_ms = 1000;
    static constexpr Instant zero = milliseconds{zero_ms};
    static constexpr std::int64_t first_fence = 1000;  // how the wall clocks at zero are shown

    struct Incident {
        std::string text;
        std::function<void()> action;
    };

    [[nodiscard]] Plan make_plan(const Setup& setup) {
        Plan plan;
        plan.options.restart_quarantine = setup.quarantine;
        plan.options.notify = setup.notify;
        plan.node_count = setup.nodes;
        plan.client_count = setup.clients;
        plan.loads_scripts = true;
        plan.hooks = &timeline_;
        return plan;
    }

    void process(const Event& event) {
        now_ = std::max(now_, event.at);
        switch (event.kind) {
            case Event::Kind::to_node:
            case Event::Kind::to_client:
                if (const auto client = network_.happen(event)) step(*client);
                return;
            case Event::Kind::wake:
                if (clients_[event.subject].wake_at == event.at) step(event.subject);
                return;
            default: break;
        }
        const Incident& incident = incidents_[event.subject];
        if (!incident.text.empty()) timeline_.note_fault(incident.text);
        if (incident.action) incident.action();
    }

    void step(std::size_t index) {
        ScenarioClient& client = clients_[index];
        client.step();
        const Instant wake_at = client.next_wake();
        if (wake_at == client.wake_at && wake_at > now_) return;
        client.wake_at = std::max(wake_at, now_);
        if (wake_at == never) return;
        queue_.add(client.wake_at, Event::Kind::wake, static_cast<std::uint32_t>(index));
    }

    std::string about_;
    Instant now_{0};
    EventQueue queue_;
    Timeline unused_{false};  ///< of random schedules
    TimelineWriter timeline_;
    const Plan plan_;
    Network network_;
    std::deque<ScenarioClient> clients_;
    std::deque<Incident> incidents_;
};

}  // namespace redlock::sim

// SPDX-License-Identifier: Apache-2.0
// One schedule from its beginning to its end.
#pragma once

#include <algorithm>
#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <optional>
#include <string>
#include <utility>

#include "sim/client.hpp"
#include "sim/events.hpp"
#include "sim/handovers.hpp"
#include "sim/history.hpp"
#include "sim/outcome.hpp"
#include "sim/plan.hpp"
#include "sim/relay.hpp"
#include "sim/timeline.hpp"

namespace redlock::sim {

/// Floor: the Network and the Transport between the clients and the nodes.
template <class Floor>
class World {
   public:
    using Network = typename Floor::Network;
    using Client = SimClient<Floor>;

    World(const Plan& plan, bool is_told)
        : plan_{plan},
          timeline_{is_told},
          network_{plan_, now_, queue_, timeline_},
          history_{plan_, now_, timeline_} {
        for (std::uint32_t c = 0; c < plan_.client_count; ++c)
            clients_.emplace_back(network_, history_, handovers_, c);
    }
    World(const World&) = delete;
    World& operator=(const World&) = delete;

    Outcome run() {
        for (std::uint32_t i = 0; i < plan_.faults.size(); ++i) {
            queue_.add(plan_.faults[i].at, Event::Kind::fault, i);
        }
        for (Client& client : clients_) client.start_working();
        live_with_faults();
        if (!history_.violation()) settle();
        if (!history_.violation()) check_orphans();
        if (!history_.violation()) check_progress();
        if (!history_.violation() && plan_.depth == Depth::streams) check_service();
        has_everybody_connected_ = true;
        if (!history_.violation()) check_orphans();
        if (!history_.violation() && plan_.is_calm()) check_calls();
        if (!history_.violation()) check_nothing_owed();
        outcome_.violation = history_.violation();
        outcome_.acquired = history_.acquired_count();
        outcome_.overlaps = history_.overlap_count();
        outcome_.fence_failures = history_.fence_failure_count();
        outcome_.lasted = now_;
        outcome_.timeline = timeline_.text();
        for (Client& client : clients_) client.end();
        return std::move(outcome_);
    }

   private:
    // ---- phases ------------------------------------------------------------------------------------

    [[nodiscard]] bool are_all_done() const {
        return std::all_of(clients_.begin(), clients_.end(),
                           [](const Client& client) { return client.is_done(); });
    }

    void live_with_faults() {
        const Instant faults_end = plan_.faults_end();
        const Instant latest = faults_end + 100 * plan_.ttl_max + std::chrono::minutes{1};
        for (std::uint32_t c = 0; c < clients_.size(); ++c) step(c);
        while (!history_.violation() && !(are_all_done() && now_ >= faults_end)) {
            if (queue_.empty()) {
                if (!are_all_done()) history_.report(Property::running, "a call never ends");
                break;
            }
            if (now_ > latest || outcome_.events > events_max()) {
                return history_.report(Property::running, "the workers do not come to their end");
            }
            happen();
        }
        now_ = std::max(now_, faults_end);
    }

    /// Ends all faults: messages in transit arrive, and pending releases are done.
    void settle(std::chrono::nanoseconds more = {}) {
        network_.calm_down();
        for (std::uint32_t c = 0; c < clients_.size(); ++c) {
            clients_[c].calm_down();
            step(c);
        }
        const Instant until = now_ + more + plan_.options.connect_timeout + 2 * plan_.options.reconnect_max +
                              std::chrono::seconds{5};
        while (!queue_.empty() && queue_.next().at <= until && !history_.violation()) {
            if (outcome_.events > events_max()) return history_.report(Property::running, "there is no end");
            happen();
        }
    }

    /// No key may be left except those of clients that crashed or abandoned their leases.
    void check_orphans() {
        for (std::size_t n = 0; n < network_.nodes().size(); ++n) {
            SimNode& node = network_.nodes()[n];
            for (const ModelStore::Entry& entry : node.redis().entries_at(node.wall_us())) {
                if (entry.expires_ms == ModelStore::forever_ms) {
                    history_.report(Property::no_orphans, "a key without a ttl: " + entry.key);
                }
                if (ModelStore::is_counter(entry) || is_excused(n)) continue;
                if (ModelStore::is_queue(entry)) {
                    check_queue(n, entry);
                } else if (!is_excused(entry.value)) {
                    history_.report(Property::no_orphans, "node " + std::to_string(n) + " still has " +
                                                              entry.key + " with token " +
                                                              entry.value.substr(0, 6));
                }
            }
        }
    }

    /// Nobody waits any more. After faults a queue may be left, but not for long.
    void check_queue(std::size_t n, const ModelStore::Entry& queue) {
        const milliseconds life = 2 * std::max(milliseconds{1000}, 4 * plan_.options.retry.cap);
        const milliseconds left{queue.expires_ms - network_.nodes()[n].wall_us() / 1000};
        const std::string what = "node " + std::to_string(n) + " has the queue " + queue.key;
        if (left > life) history_.report(Property::no_orphans, what + " for too long");
        // A waiter stays in a queue until it expires where the delist came too late (the node did not know
        // the script) or was never sent (the backlog of a slow node was full).
        if (plan_.is_calm() && plan_.loads_scripts && plan_.options.backlog > 16) {
            history_.report(Property::no_orphans, what + " though nobody waits");
        }
    }

    [[nodiscard]] bool is_excused(const std::string& token) const {
        // Some keys end only by their ttl: of a request that came twice, or late on a connection that cannot
        // be ended, or whose release was undone, or on a node whose clock is slow beyond the bound.
        if (plan_.hides_run_ids || plan_.has(Fault::Kind::duplicate) || plan_.has(Fault::Kind::crash_undo) ||
            plan_.has(Fault::Kind::failover) || plan_.broken == Broken::drift) {
            return true;
        }
        // A key of a request that ran after the client stopped looking goes with the next connection.
        return (network_.ran_late(token) && !has_everybody_connected_) || network_.ran_astray(token) ||
               std::any_of(clients_.begin(), clients_.end(),
                           [&](const Client& client) { return client.has_excuse_for(token); });
    }

    /// A node whose clock was set back keeps a key for longer than its ttl.
    [[nodiscard]] bool is_excused(std::size_t node) {
        return std::any_of(plan_.faults.begin(), plan_.faults.end(), [&](const Fault& fault) {
            return fault.kind == Fault::Kind::clock_back && fault.node == node;
        });
    }

    /// How long a node may sit out. One that was replaced is noticed by the first write, which may be after a
    /// quarantine.
    [[nodiscard]] milliseconds longest_quarantine() const {
        const int times = plan_.has(Fault::Kind::failover) ? 2 : 1;
        return times * plan_.options.restart_quarantine * 10 / 9;
    }

    /// When all leftover keys have expired and all quarantines are over, some client gets the lock.
    void check_progress() {
        for (SimNode& node : network_.nodes()) now_ = std::max(now_, node.last_expiry());
        // The slower of a client's two readings measures a quarantine, the faster one a wait.
        const milliseconds bound = longest_quarantine() + 3 * plan_.options.retry.cap +
                                   plan_.options.connect_timeout + 2 * plan_.options.reconnect_max +
                                   milliseconds{plan_.has(Fault::Kind::moved) ? 15'000 : 5000};
        bool is_anyone_alive = false;
        for (Client& client : clients_) {
            if (client.is_crashed()) continue;
            is_anyone_alive = true;
            client.start_proving_progress(bound);
        }
        for (std::uint32_t c = 0; c < clients_.size(); ++c) step(c);
        settle(bound);
        const bool has_progressed = std::any_of(clients_.begin(), clients_.end(),
                                                [](const Client& client) { return client.has_progressed(); });
        if (is_anyone_alive && !has_progressed && !history_.violation()) {
            history_.report(Property::progress, "nobody got the lock though all was well");
        }
    }

    /// Each client is served by each node again.
    void check_service() {
        // A connection that is silent is taken for dead after the longer of two seconds and ten
        // node_timeouts.
        const milliseconds silence = std::max(milliseconds{2000}, 10 * plan_.options.node_timeout);
        const milliseconds bound = longest_quarantine() + 2 * silence + 2 * plan_.options.connect_timeout +
                                   3 * plan_.options.reconnect_max + plan_.ttl_max + milliseconds{10'000};
        for (Client& client : clients_) {
            if (!client.is_crashed()) client.start_proving_service(bound);
        }
        for (std::uint32_t c = 0; c < clients_.size(); ++c) step(c);
        settle(bound);
        for (std::uint32_t c = 0; c < clients_.size() && !history_.violation(); ++c) {
            if (clients_[c].unserved_by() < 0) continue;
            history_.report(Property::service, "node " + std::to_string(clients_[c].unserved_by()) +
                                                   " does not serve client " + std::to_string(c) + " again");
        }
    }

    /// All keys have expired by now, and all nodes can be reached. A request that was sent to the server of
    /// another node, on a connection that is dead, is owed until a new connection ends that one.
    void check_nothing_owed() {
        bool has_useless = false;
        for (std::size_t n = 0; n < plan_.node_count; ++n) has_useless |= plan_.wiring.is_useless(n);
        if (has_useless && plan_.has(Fault::Kind::moved)) return;
        for (std::uint32_t c = 0; c < clients_.size(); ++c) {
            if (clients_[c].is_crashed() || clients_[c].is_settled()) continue;
            history_.report(Property::nothing_owed, "client " + std::to_string(c) + " has work left");
        }
    }

    /// One client holds, all others wait, and it releases: each waiter is notified in its turn.
    void check_calls() {
        Relay relay{plan_, now_, history_};
        clients_.front().start_holding();
        step(0);
        settle();
        if (!clients_.front().is_holding()) return history_.report(Property::progress, "nobody got the lock");
        std::size_t waiter_count = 0;
        for (std::uint32_t c = 0; c < clients_.size(); ++c) {
            clients_[c].start_waiting_for_turns(relay);
            waiter_count += plan_.worker_count[c];
            step(c);
        }
        settle(3 * plan_.options.retry.cap);  // by now all are in the queue
        clients_.front().start_letting_go(relay);
        step(0);
        settle(6 * plan_.options.retry.cap * waiter_count);
        if (relay.turns() != waiter_count && !history_.violation()) {
            history_.report(Property::progress, "not everybody got a turn");
        }
        if (!history_.violation()) check_orphans();
    }

    // ---- events ------------------------------------------------------------------------------------

    void happen() {
        const Event event = queue_.take();
        now_ = std::max(now_, event.at);
        ++outcome_.events;
        switch (event.kind) {
            case Event::Kind::wake:
                if (clients_[event.subject].wake_at == event.at) step(event.subject);
                break;
            case Event::Kind::fault: begin(plan_.faults[event.subject], event.subject); break;
            case Event::Kind::fault_end: end(plan_.faults[event.subject]); break;
            default:
                if (const auto client = network_.happen(event)) step(*client);
        }
    }

    void step(std::uint32_t index) {
        Client& client = clients_[index];
        for (SimNode& node : network_.nodes()) {
            if (node.redis().store().has_forgotten_counter()) history_.set_counters_lost();
        }
        if (network_.has_shortened_late()) history_.set_shortened_late();
        if (const auto& breach = network_.breach()) history_.report(breach->first, breach->second);
        client.step();
        const Instant wake_at = client.next_wake();
        if (wake_at == client.wake_at && wake_at > now_) return;
        client.wake_at = wake_at;
        if (wake_at != never) queue_.add(std::max(wake_at, now_), Event::Kind::wake, index);
        client.wake_at = std::max(wake_at, now_);
    }

    void begin(const Fault& fault, std::uint32_t index) {
        using Kind = Fault::Kind;
        ++outcome_.faults[static_cast<std::size_t>(fault.kind)];
        const Instant until = now_ + fault.lasts;
        SimNode& node = network_.nodes()[fault.node];
        Client& client = clients_[fault.client];
        timeline_.note(now_, "*** ", to_string(fault.kind), " (client ", fault.client, ", node ", fault.node,
                       ") for ", fault.lasts);
        switch (fault.kind) {
            case Kind::crash_keep:
            case Kind::crash_lose:
            case Kind::crash_undo:
                network_.crash(fault.node);
                if (fault.kind == Kind::crash_lose) node.redis().store().forget_all();
                if (fault.kind == Kind::crash_undo) {
                    node.redis().store().undo_last_writes(static_cast<std::size_t>(fault.amount));
                }
                queue_.add(until, Event::Kind::fault_end, index);
                break;
            case Kind::hang: node.hang(until); break;
            case Kind::demote: node.demote(until); break;
            case Kind::flush_scripts: node.redis().forget_scripts(); break;
            case Kind::clock_forward: node.set_clock_by(std::chrono::microseconds{fault.amount}); break;
            case Kind::clock_back: node.set_clock_by(std::chrono::microseconds{-fault.amount}); break;
            case Kind::client_clock: client.set_wall_clock_by(fault.amount); break;
            case Kind::pause:
                client.pause(fault.lasts);
                step(fault.client);
                break;
            case Kind::pause_mid_send: client.pause_after_next_send(fault.lasts); break;
            case Kind::client_crash:
                client.crash(fault.amount == 0 ? Farewell::spoken : Farewell::none);
                break;
            default:
                if (const auto woken = network_.begin(fault, until)) step(*woken);
        }
    }

    void end(const Fault& fault) {
        timeline_.note(now_, "*** node ", fault.node, " is back");
        network_.nodes()[fault.node].come_back();
    }

    [[nodiscard]] std::size_t events_max() const noexcept {
        return plan_.depth == Depth::streams ? 5'000'000 : 1'000'000;
    }

    bool has_everybody_connected_ = false;  ///< to all nodes, since the faults have stopped

    const Plan plan_;
    Instant now_{0};
    EventQueue queue_;
    Timeline timeline_;
    Network network_;
    History history_;
    HandOvers handovers_;
    std::deque<Client> clients_;
    Outcome outcome_;
};

}  // namespace redlock::sim

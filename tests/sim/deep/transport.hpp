// SPDX-License-Identifier: Apache-2.0
// The library's own transport over simulated streams, driven as a thread would drive it.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "redlock/engine/transport.hpp"
#include "redlock/hiredis/transport.hpp"
#include "sim/deep/network.hpp"
#include "sim/deep/system.hpp"

namespace redlock::sim::deep {

/// Sees what a transport reports, and checks it.
class Watch final : public detail::TransportEvents {
   public:
    Watch(Machine& machine, detail::TransportEvents& events) : machine_{machine}, events_{events} {}

    void on_waiting() override { events_.on_waiting(); }
    [[nodiscard]] bool on_awake() override { return events_.on_awake(); }
    void on_reply(std::size_t node, const detail::Reply& reply) override {
        --machine_.in_flight[node];
        events_.on_reply(node, reply);
    }
    void on_up(std::size_t node, const detail::NodeInfo& info) override {
        machine_.in_flight[node] = 0;
        events_.on_up(node, info);
    }
    void on_down(std::size_t node, const detail::Fault& fault) override {
        const Plan& plan = machine_.network.plan();
        const auto index = static_cast<std::uint32_t>(node);
        // One that was paused learns of many things at once; and the reason may be that of another address.
        const bool is_sure = machine_.is_prompt && plan.wiring.nodes[node].decoys.empty();
        if (is_sure && machine_.network.is_turned_away(machine_.client, index) &&
            fault.text.find("max number of clients") == std::string_view::npos) {
            machine_.network.report(Property::reason_told, "told of node " + std::to_string(node) +
                                                               " was: " + std::string{fault.text});
        }
        machine_.in_flight[node] = 0;
        events_.on_down(node, fault);
    }
    void on_message(std::size_t node, std::string_view payload) override {
        events_.on_message(node, payload);
    }

   private:
    Machine& machine_;
    detail::TransportEvents& events_;
};

/// First base: the machine must be there before the transport and after it.
struct HasMachine {
    Machine machine;
};

class Transport : private HasMachine, public hiredis::BasicTransport<System> {
    using Base = hiredis::BasicTransport<System>;

   public:
    Transport(Network& network, std::uint32_t client, const ClientTime& time)
        : HasMachine{Machine{network, client, time}},
          Base{endpoints_of(network.plan()), network.plan().options, System{machine}} {}

    // ---- the concept, where it differs -------------------------------------------------------------

    detail::Sent send(std::size_t node, std::string_view request) {
        machine.was_used = true;
        const detail::Sent sent = Base::send(node, request);
        if (sent == detail::Sent::accepted) count_request(node);
        return sent;
    }
    void drop(std::size_t node, const detail::Fault& fault) {
        machine.in_flight[node] = 0;
        Base::drop(node, fault);
    }
    detail::Sent connect(std::size_t node) {
        machine.was_used = true;
        return Base::connect(node);
    }
    void listen(std::string_view channel) {
        machine.was_used = true;
        Base::listen(channel);
    }

    /// Blocks never: a thread that would wait comes back when the world says so.
    [[nodiscard]] bool poll(detail::TransportEvents& events,
                            std::optional<std::chrono::nanoseconds> /*timeout*/) {
        Watch watch{machine, events};
        return Base::poll(watch, std::nullopt);
    }
    [[nodiscard]] bool take_over() const noexcept { return false; }  // there is one thread

    // ---- for the client's owner --------------------------------------------------------------------

    [[nodiscard]] Instant next_timer() const noexcept { return machine.blocks_until; }
    /// Whether the poll that comes next would return at once.
    [[nodiscard]] bool take_wants_turn() const noexcept {
        if (machine.is_stopped) return false;
        return machine.was_used || machine.was_ready || machine.blocks_until <= machine.network.now();
    }
    [[nodiscard]] const std::vector<std::string>& tokens() const noexcept { return machine.tokens; }

    /// Whether a thread drives now.
    void set_driven(bool is_driven) noexcept { machine.is_read = is_driven; }

    void pause_after_next_send() noexcept { machine.pause_after_sends = 2; }
    [[nodiscard]] bool is_stopped_in_flush() const noexcept { return machine.is_stopped; }
    void go_on() noexcept { machine.is_stopped = false; }
    void calm_down() noexcept { machine.pause_after_sends = 0; }

    /// The process has ended, and with it its ends of all connections.
    void hang_up_all(Farewell farewell) {
        machine.network.close_all(machine.client, farewell);
        machine.farewell = Farewell::none;
    }
    /// No connection any more, for good.
    void shut() noexcept {
        machine.is_shut = machine.is_read = true;
        machine.pause_after_sends = 0;
        go_on();
    }

   private:
    /// As many requests as the backlog allows, as many releases again, and what heals a script.
    void count_request(std::size_t node) {
        const auto most = static_cast<std::int64_t>(3 * machine.network.plan().options.backlog);
        if (++machine.in_flight[node] <= most) return;
        machine.network.report(Property::in_bounds, "node " + std::to_string(node) + " is sent more than " +
                                                        std::to_string(most) + " requests unanswered");
    }

    [[nodiscard]] static std::vector<Endpoint> endpoints_of(const Plan& plan) {
        const Wiring& wiring = plan.wiring;
        std::vector<Endpoint> endpoints;
        for (std::uint32_t n = 0; n < plan.node_count; ++n) {
            const bool is_unix = wiring.nodes[n].way == Wiring::Way::unix_socket;
            std::string uri = is_unix ? "unix://" : "redis://";
            if (!wiring.password.empty()) uri += wiring.user + ":" + wiring.password + "@";
            if (is_unix) {
                uri += Network::path_of(n) + (wiring.db != 0 ? "?db=" + std::to_string(wiring.db) : "");
            } else {
                const bool is_name = wiring.nodes[n].way == Wiring::Way::name;
                uri += is_name ? Network::host_of(n) : Network::address_of(n, 0);
                if (wiring.db != 0) uri += "/" + std::to_string(wiring.db);
            }
            endpoints.emplace_back(uri);
        }
        return endpoints;
    }
};

static_assert(detail::IsTransport<Transport>);

/// The deep simulator.
struct StreamFloor {
    using Network = deep::Network;
    using Transport = deep::Transport;
};

}  // namespace redlock::sim::deep

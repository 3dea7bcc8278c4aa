// SPDX-License-Identifier: Apache-2.0
// A client's subscriptions: a separate connection to each node that behaves as on hiredis. It is made while a
// channel is set, tried again only in a turn of the driver, and never wakes the driver.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "redlock/engine/transport.hpp"
#include "sim/network.hpp"
#include "sim/port.hpp"

namespace redlock::sim {

class Subscriptions {
   public:
    Subscriptions(Network& network, std::uint32_t client)
        : network_{network}, client_{client}, random_{network.plan().seed, 150 + client} {}

    /// From the next turn on; an empty name ends it.
    void listen(std::string_view channel) { wanted_ = channel; }

    [[nodiscard]] std::size_t up_count() const noexcept {
        const auto is_up = [](const Port& port) { return port.stage == Port::Stage::up; };
        return static_cast<std::size_t>(std::count_if(ports_.begin(), ports_.end(), is_up));
    }

    /// Whether another turn would do something now. On hiredis the driver's next poll comes at once.
    [[nodiscard]] bool take_wants_turn() noexcept {
        return std::exchange(has_lost_one_, false) || (wanted_ != channel_ && !is_shut_);
    }

    // ---- parts of a turn, in their order -----------------------------------------------------------

    void connect() {
        if (is_shut_) return;
        if (channel_ != wanted_) {
            hang_up(Farewell::spoken);
            channel_ = wanted_;
            ports_.assign(channel_.empty() ? 0 : network_.plan().node_count, Port{});
        }
        for (std::size_t node = 0; node < ports_.size(); ++node) {
            Port& port = ports_[node];
            if (port.stage != Port::Stage::down || network_.now() < port.retry_at) continue;
            port.open(network_, client_, static_cast<std::uint32_t>(node), channel_);
        }
    }

    /// False when it came on none of these connections.
    bool take(const Arrival& arrival, detail::TransportEvents& events) {
        for (std::size_t node = 0; node < ports_.size(); ++node) {
            if (ports_[node].connection != arrival.connection) continue;
            switch (arrival.message.kind) {
                case Message::Kind::welcome: come_up(node); break;
                case Message::Kind::notice:
                    ports_[node].answer();
                    events.on_message(node, arrival.message.bytes);
                    break;
                default: fail(node);
            }
            return true;
        }
        return false;
    }

    void give_up_late_ones() {
        for (std::size_t node = 0; node < ports_.size(); ++node) {
            if (ports_[node].is_too_late(network_.now())) fail(node);
        }
    }

    // ---- for the client's owner --------------------------------------------------------------------

    /// When there is work to do even if nothing arrives. A connection to be tried again does not count.
    [[nodiscard]] Instant next_timer() const noexcept {
        Instant next = never;
        for (const Port& port : ports_) {
            if (port.stage == Port::Stage::connecting) next = std::min(next, port.connect_by);
        }
        return next;
    }

    void hang_up(Farewell farewell) {
        for (const Port& port : ports_) {
            if (port.connection != no_connection) network_.hang_up(port.connection, farewell);
        }
    }

    void shut() noexcept {
        is_shut_ = true;
        ports_.clear();
    }

   private:
    void come_up(std::size_t node) {
        ports_[node].come_up();
        network_.timeline().note(network_.now(), "  client ", client_, ": subscribed at node ", node);
    }

    void fail(std::size_t node) {
        ports_[node].fail(network_, random_);
        has_lost_one_ = true;
        network_.timeline().note(network_.now(), "  client ", client_, ": not subscribed at node ", node);
    }

    Network& network_;
    std::uint32_t client_;
    Random random_;
    std::string channel_;
    std::string wanted_;
    std::vector<Port> ports_;  ///< none, or one per node
    bool has_lost_one_ = false;
    bool is_shut_ = false;
};

}  // namespace redlock::sim

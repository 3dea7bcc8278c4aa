// SPDX-License-Identifier: Apache-2.0
// The simulator's Transport, which behaves as the one on hiredis: it connects on demand, backs off after
// failures, and a new connection ends the old one at the node.
#pragma once

#include <algorithm>
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
#include "sim/network.hpp"
#include "sim/port.hpp"
#include "sim/subscriptions.hpp"

namespace redlock::sim {

class SimTransport {
   public:
    SimTransport(Network& network, std::uint32_t client, const ClientTime& /*time*/)
        : network_{network},
          client_{client},
          random_{network.plan().seed, 100 + client},
          ports_(network.plan().node_count),
          subscriptions_{network, client} {
        for (std::size_t n = 0; n < ports_.size(); ++n) ports_[n].name = "node " + std::to_string(n);
    }

    // ---- the concept -------------------------------------------------------------------------------

    [[nodiscard]] std::size_t size() const noexcept { return ports_.size(); }
    [[nodiscard]] std::string_view endpoint(std::size_t node) const noexcept { return ports_[node].name; }
    [[nodiscard]] detail::Fault fault(std::size_t node) const noexcept {
        return {ports_[node].fault, ports_[node].text};
    }

    detail::Sent connect(std::size_t node) {
        NodePort& port = ports_[node];
        if (port.stage == Stage::up) return detail::Sent::accepted;
        if (port.stage == Stage::connecting) return detail::Sent::connecting;
        if (is_shut_ || network_.now() < port.retry_at) return detail::Sent::down;
        port.open(network_, client_, static_cast<std::uint32_t>(node));
        return detail::Sent::connecting;
    }

    [[nodiscard]] bool is_promising(std::size_t node) const noexcept {
        return ports_[node].stage == Stage::connecting && ports_[node].failures == 0;
    }
    void drop(std::size_t node, const detail::Fault& fault) {
        NodePort& port = ports_[node];
        port.has_answered = false;
        close(node, fault.vote, fault.text);
    }
    void keep_trying(std::size_t node, bool is_wanted) { ports_[node].is_wanted = is_wanted; }

    detail::Sent send(std::size_t node, std::string_view request) {
        NodePort& port = ports_[node];
        if (port.stage != Stage::up) return connect(node);
        port.out.append(request);
        return detail::Sent::accepted;
    }

    [[nodiscard]] bool unfinished() const noexcept {
        return std::any_of(ports_.begin(), ports_.end(), [](const NodePort& port) {
            return !port.out.empty() || port.stage == Stage::connecting;
        });
    }

    void flush() {
        for (NodePort& port : ports_) {
            if (port.out.empty() || (stopped_at_port_ != nullptr && stopped_at_port_ != &port)) continue;
            if (pause_after_sends_ > 0 && --pause_after_sends_ == 0) {
                stopped_at_port_ = &port;  // this one and those behind it are written after the pause
            }
            if (stopped_at_port_ != nullptr) return;
            network_.send_to_node(port.connection, {Message::Kind::request, no_connection, port.out});
            port.out.clear();
        }
    }

    [[nodiscard]] bool poll(detail::TransportEvents& events,
                            std::optional<std::chrono::nanoseconds> /*timeout*/) {
        flush();
        for (std::size_t node = 0; node < ports_.size(); ++node) {
            if (ports_[node].is_wanted) static_cast<void>(connect(node));
        }
        subscriptions_.connect();
        if (!events.on_awake()) return false;
        auto& inbox = network_.inbox(client_);
        for (std::size_t i = 0; i < inbox.size(); ++i) {
            const Arrival arrival = std::move(inbox[i]);
            if (subscriptions_.take(arrival, events)) continue;
            for (std::size_t node = 0; node < ports_.size(); ++node) {
                if (ports_[node].connection == arrival.connection) take(node, arrival.message, events);
            }
        }
        inbox.clear();
        subscriptions_.give_up_late_ones();
        for (std::size_t node = 0; node < ports_.size(); ++node) {
            NodePort& port = ports_[node];
            if (port.is_too_late(network_.now()) || (port.stage == Stage::connecting && is_shut_)) {
                fail(node, Vote::timeout, "no connection in time", events);
            } else if (port.stage == Stage::up && is_shut_) {
                fail(node, Vote::unreachable, "the world has ended", events);
            }
        }
        return true;
    }

    [[nodiscard]] bool take_over() const noexcept { return false; }  // there is one thread

    void wake() const noexcept {}
    void listen(std::string_view channel) { subscriptions_.listen(channel); }
    [[nodiscard]] std::size_t listening() const noexcept { return subscriptions_.up_count(); }
    void abandon() const noexcept {}

    void random(std::span<unsigned char> bytes) const {
        if (Hooks* hooks = network_.plan().hooks; hooks != nullptr) {
            hooks->fill(bytes);
        } else {
            for (unsigned char& byte : bytes) byte = static_cast<unsigned char>(random_.next());
        }
        if (bytes.size() == Token::byte_count) {
            tokens_.push_back(Token{std::span<const unsigned char, Token::byte_count>{bytes}}.str());
        }
    }

    // ---- for the client's owner --------------------------------------------------------------------

    /// When there is work to do even if nothing arrives.
    [[nodiscard]] Instant next_timer() const noexcept {
        Instant next = subscriptions_.next_timer();
        for (const NodePort& port : ports_) {
            if (port.stage == Stage::connecting) next = std::min(next, port.connect_by);
            if (port.stage == Stage::down && port.is_wanted) next = std::min(next, port.retry_at);
        }
        return next;
    }

    /// Whether another turn may do something now: a node that went down may be wanted back at once.
    [[nodiscard]] bool take_wants_turn() noexcept {
        const bool is_wanted = subscriptions_.take_wants_turn();
        return std::exchange(has_lost_node_, false) || is_wanted;
    }

    /// It is always read.
    void set_driven(bool /*is_driven*/) const noexcept {}

    /// All that were drawn here.
    [[nodiscard]] const std::vector<std::string>& tokens() const noexcept { return tokens_; }

    void pause_after_next_send() noexcept { pause_after_sends_ = 2; }
    [[nodiscard]] bool is_stopped_in_flush() const noexcept { return stopped_at_port_ != nullptr; }
    void go_on() noexcept { stopped_at_port_ = nullptr; }
    void calm_down() noexcept { pause_after_sends_ = 0; }

    /// The process has ended, and with it its ends of all connections.
    void hang_up_all(Farewell farewell) {
        for (const NodePort& port : ports_) {
            if (port.connection != no_connection) network_.hang_up(port.connection);
        }
        subscriptions_.hang_up(farewell);
    }

    /// No connection any more, for good.
    void shut() noexcept {
        is_shut_ = true;
        pause_after_sends_ = 0;
        go_on();
        subscriptions_.shut();
    }

   private:
    using Stage = Port::Stage;

    struct NodePort : Port {
        std::string name;
        bool is_wanted = false;  ///< whenever it can be had
        Vote fault = Vote::unreachable;
        std::string text = "not connected yet";
        detail::NodeInfo info;
        ConnectionId previous = no_connection;  ///< the last one that was up, and the server it was to
        std::string previous_run_id;
        std::string out;
    };

    void take(std::size_t node, const Message& message, detail::TransportEvents& events) {
        NodePort& port = ports_[node];
        switch (message.kind) {
            case Message::Kind::welcome: {
                port.info = message.info;
                const bool must_kill = port.previous != no_connection && !port.info.run_id.empty() &&
                                       port.info.run_id == port.previous_run_id;
                if (!must_kill) return come_up(node, events);
                return network_.send_to_node(port.connection, {Message::Kind::kill, port.previous});
            }
            case Message::Kind::killed: return come_up(node, events);
            case Message::Kind::reply: port.answer(); return tell(node, message.reply, events);
            default: return fail(node, Vote::unreachable, "the node closed the connection", events);
        }
    }

    void come_up(std::size_t node, detail::TransportEvents& events) {
        NodePort& port = ports_[node];
        port.come_up();
        port.previous = port.connection;
        port.previous_run_id = port.info.run_id;
        network_.timeline().note(network_.now(), "  client ", client_, ": connected to node ", node);
        events.on_up(node, port.info);
        flush();
    }

    void tell(std::size_t node, const ModelReply& reply, detail::TransportEvents& events) {
        detail::Reply plain{reply.kind, reply.integer, reply.text, {}};
        elements_.clear();
        for (const std::int64_t element : reply.elements) {
            elements_.push_back({detail::Reply::Kind::integer, element, {}, {}});
        }
        plain.elements = elements_;
        events.on_reply(node, plain);
    }

    void fail(std::size_t node, Vote vote, std::string_view text, detail::TransportEvents& events) {
        close(node, vote, text);
        events.on_down(node, fault(node));
    }

    void close(std::size_t node, Vote vote, std::string_view text) {
        NodePort& port = ports_[node];
        port.fail(network_, random_);
        port.fault = vote;
        port.text = text;
        port.out.clear();
        has_lost_node_ = true;
        network_.timeline().note(network_.now(), "  client ", client_, ": no connection to node ", node, ", ",
                                 text);
    }

    Network& network_;
    std::uint32_t client_;
    mutable Random random_;
    mutable std::vector<std::string> tokens_;
    std::vector<NodePort> ports_;
    Subscriptions subscriptions_;
    std::vector<detail::Reply> elements_;
    unsigned pause_after_sends_ = 0;
    const NodePort* stopped_at_port_ = nullptr;
    bool has_lost_node_ = false;
    bool is_shut_ = false;
};

static_assert(detail::IsTransport<SimTransport>);

/// The fast simulator.
struct MessageFloor {
    using Network = sim::Network;
    using Transport = SimTransport;
};

}  // namespace redlock::sim

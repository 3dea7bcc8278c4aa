// SPDX-License-Identifier: Apache-2.0
// Connections between clients and nodes: each one keeps its order; nothing else is guaranteed.
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "sim/events.hpp"
#include "sim/hooks.hpp"
#include "sim/links.hpp"
#include "sim/node.hpp"
#include "sim/outcome.hpp"
#include "sim/plan.hpp"
#include "sim/random.hpp"
#include "sim/timeline.hpp"

namespace redlock::sim {

using ConnectionId = std::uint32_t;
inline constexpr ConnectionId no_connection = UINT32_MAX;

struct Message {
    enum class Kind : std::uint8_t {
        hello,    ///< to the node: connect and log in; with a channel, subscribe to it
        kill,     ///< CLIENT KILL ID of the connection before
        request,  ///< bytes
        bye,      ///< of a subscriber that has gone
        welcome,  ///< to the client: logged in, subscribed
        killed,
        reply,
        notice,  ///< something was published
        reset,   ///< the connection has ended, or was refused
    };
    Kind kind{};
    ConnectionId previous = no_connection;
    std::string bytes{};  ///< of a request or a notice; of a hello, the channel
    ModelReply reply{};
    detail::NodeInfo info{};
};

/// Messages that have reached a client and that its transport has not read yet.
struct Arrival {
    ConnectionId connection;
    Message message;
};

class Network {
   public:
    Network(const Plan& plan, const Instant& now, EventQueue& queue, Timeline& timeline)
        : plan_{plan},
          now_{now},
          queue_{queue},
          timeline_{timeline},
          links_{plan, now},
          inboxes_(Plan::clients_max) {
        for (std::uint32_t n = 0; n < plan.node_count; ++n)
            nodes_.emplace_back(n, Pace{plan.node_ppm[n]}, now);
        if (plan.has(Fault::Kind::crash_undo)) {
            for (SimNode& node : nodes_) node.redis().store().keep_journal();
        }
    }

    [[nodiscard]] const Plan& plan() const noexcept { return plan_; }
    [[nodiscard]] const Instant& now() const noexcept { return now_; }
    [[nodiscard]] Timeline& timeline() noexcept { return timeline_; }
    [[nodiscard]] std::vector<SimNode>& nodes() noexcept { return nodes_; }

    // ---- for transports ----------------------------------------------------------------------------

    [[nodiscard]] ConnectionId open(std::uint32_t client, std::uint32_t node, std::string_view channel) {
        const auto id = static_cast<ConnectionId>(connections_.size());
        connections_.push_back({client, node, !channel.empty()});
        Latest& way = latest(client, node);
        (channel.empty() ? way.for_requests : way.subscribed) = id;
        send_to_node(id, {Message::Kind::hello, no_connection, std::string{channel}});
        return id;
    }

    void send_to_node(ConnectionId id, Message message) {
        if (plan_.hooks != nullptr) plan_.hooks->on_sent(ends_of(id), message);
        post(connections_[id].to_node, std::move(message), Event::Kind::to_node, id);
    }

    /// Closes the client's end. Messages that it had sent still arrive.
    void hang_up(ConnectionId id, Farewell farewell = Farewell::spoken) {
        connections_[id].is_client_open = false;
        connections_[id].to_client.messages.clear();
        if (connections_[id].is_subscriber && farewell == Farewell::spoken) {
            send_to_node(id, {Message::Kind::bye});
        }
    }

    [[nodiscard]] std::vector<Arrival>& inbox(std::uint32_t client) { return inboxes_[client]; }

    // ---- for the world -----------------------------------------------------------------------------

    /// An event of the network; then the client that has something new in its inbox.
    std::optional<std::uint32_t> happen(const Event& event) {
        switch (event.kind) {
            case Event::Kind::to_node: deliver_to_node(event.subject); break;
            case Event::Kind::to_client: return deliver_to_client(event.subject);
            case Event::Kind::ghost: execute_ghost(event.subject); break;
            case Event::Kind::echo: return deliver_echo(event.subject);
            default: break;
        }
        return std::nullopt;
    }

    /// A fault of connections begins; then the client that has something new in its inbox.
    std::optional<std::uint32_t> begin(const Fault& fault, Instant until) {
        using Kind = Fault::Kind;
        switch (fault.kind) {
            case Kind::partition: links_.block(fault.links, until); break;
            case Kind::slow: links_.slow_down(fault.links, until); break;
            case Kind::notice_lost: links_.lose_notices(fault.links, until); break;
            case Kind::notice_late: links_.repeat_notices(fault.links, until); break;
            case Kind::duplicate: link(fault.client, fault.node).duplicates_next = true; break;
            case Kind::reset: reset(latest(fault.client, fault.node).for_requests); break;
            case Kind::half_reset: return reset_at_client(fault.client, fault.node, until);
            case Kind::unsubscribe:
                if (fault.amount != 0) return reset_subscriber_at_client(fault.client, fault.node);
                reset(latest(fault.client, fault.node).subscribed);
                break;
            case Kind::refuse: nodes_[fault.node].refuse(until); break;
            case Kind::forbid:
                if (fault.amount == 0) forbid_channels(fault.node, until);
                if (fault.amount != 0) nodes_[fault.node].forbid_queues(until);
                break;
            default: break;
        }
        return std::nullopt;
    }

    /// All faults end.
    void calm_down() noexcept { links_.calm_down(); }
    /// There is one address for each node.
    [[nodiscard]] static bool ran_astray(const std::string& /*token*/) noexcept { return false; }

    /// A property of connections that was violated: this network has none.
    [[nodiscard]] static std::optional<std::pair<Property, std::string>> breach() { return std::nullopt; }

    /// Whether an extension that shortens ran twice, or on a connection that could not be ended: it may have
    /// undone a later, longer one.
    [[nodiscard]] bool has_shortened_late() const noexcept { return has_shortened_late_; }

    /// Whether a request with this token ran after the client's end of the connection was gone.
    [[nodiscard]] bool ran_late(const std::string& token) const {
        return std::find(late_tokens_.begin(), late_tokens_.end(), token) != late_tokens_.end();
    }

    void crash(std::uint32_t node) {
        nodes_[node].go_down();
        end_all_at(node, false);
    }
    [[nodiscard]] Links& links() noexcept { return links_; }

   private:
    struct Pipe {
        std::deque<Message> messages;
        Instant last_arrival{0};
        Message take() {
            Message message = std::move(messages.front());
            messages.pop_front();
            return message;
        }
    };
    struct Connection {
        std::uint32_t client;
        std::uint32_t node;
        bool is_subscriber = false;
        bool is_client_open = true;
        bool is_at_node = false;  ///< welcomed and not ended there
        Instant held_until{0};
        Pipe to_node{};
        Pipe to_client{};
    };
    /// The last connections of a client to a node.
    struct Latest {
        ConnectionId for_requests = no_connection;
        ConnectionId subscribed = no_connection;
    };
    struct Ghost {
        std::uint32_t node;
        std::string bytes;
    };
    struct Echo {
        ConnectionId connection;
        std::string payload;
    };

    [[nodiscard]] Link& link(std::uint32_t client, std::uint32_t node) {
        return links_.between(client, node);
    }
    [[nodiscard]] Latest& latest(std::uint32_t client, std::uint32_t node) {
        return latest_[client * Plan::nodes_max + node];
    }

    [[nodiscard]] Ends ends_of(ConnectionId id) const {
        return {connections_[id].client, connections_[id].node, id};
    }

    [[nodiscard]] Instant delay_of(ConnectionId id, const Message& message) {
        if (plan_.hooks != nullptr) return plan_.hooks->delay_of(ends_of(id), message);
        return links_.draw_delay(link(connections_[id].client, connections_[id].node));
    }

    // ---- deliveries --------------------------------------------------------------------------------

    void deliver_to_node(ConnectionId id) {
        Connection& connection = connections_[id];
        const Instant free_at = std::max({nodes_[connection.node].hung_until(), connection.held_until,
                                          link(connection.client, connection.node).blocked_until});
        if (free_at > now_) return queue_.add(free_at, Event::Kind::to_node, id);
        if (connection.to_node.messages.empty()) return;
        const Message message = connection.to_node.take();
        switch (message.kind) {
            case Message::Kind::hello: return welcome(connection, id, message.bytes);
            case Message::Kind::bye: return end_at_node(id);
            case Message::Kind::kill:
                end_at_node(message.previous);
                return post_to_client(id, {Message::Kind::killed});
            default: return execute(connection, id, message);
        }
    }

    /// The client that has something new in its inbox.
    std::optional<std::uint32_t> deliver_to_client(ConnectionId id) {
        Connection& connection = connections_[id];
        const Instant free_at = link(connection.client, connection.node).blocked_until;
        if (free_at > now_) {
            queue_.add(free_at, Event::Kind::to_client, id);
            return std::nullopt;
        }
        if (connection.to_client.messages.empty() || !connection.is_client_open) return std::nullopt;
        Message message = connection.to_client.take();
        if (plan_.hooks != nullptr) plan_.hooks->on_arrived(ends_of(id), message);
        inboxes_[connection.client].push_back({id, std::move(message)});
        return connection.client;
    }

    void execute_ghost(std::uint32_t index) {
        auto& [node, bytes] = ghosts_[index];
        if (nodes_[node].is_up()) execute_all(node, bytes, "again: ", no_connection);
    }

    /// The client that has something new in its inbox.
    std::optional<std::uint32_t> deliver_echo(std::uint32_t index) {
        const Echo& echo = echoes_[index];
        const Connection& connection = connections_[echo.connection];
        if (!connection.is_client_open) return std::nullopt;
        inboxes_[connection.client].push_back(
            {echo.connection, {Message::Kind::notice, no_connection, echo.payload}});
        return connection.client;
    }

    // ---- faults ------------------------------------------------------------------------------------

    std::optional<std::uint32_t> reset_at_client(std::uint32_t client, std::uint32_t node,
                                                 Instant requests_held_until) {
        const ConnectionId id = latest(client, node).for_requests;
        if (id == no_connection || !connections_[id].is_client_open) return std::nullopt;
        hang_up(id);
        connections_[id].held_until = requests_held_until;
        inboxes_[client].push_back({id, {Message::Kind::reset}});
        return client;
    }

    /// Likewise; the node goes on notifying a subscriber that has gone.
    std::optional<std::uint32_t> reset_subscriber_at_client(std::uint32_t client, std::uint32_t node) {
        const ConnectionId id = latest(client, node).subscribed;
        if (id == no_connection || !connections_[id].is_client_open) return std::nullopt;
        hang_up(id, Farewell::none);
        inboxes_[client].push_back({id, {Message::Kind::reset}});
        return client;
    }

    /// Ends all subscriptions, and permits neither SUBSCRIBE nor PUBLISH for a while.
    void forbid_channels(std::uint32_t node, Instant until) {
        nodes_[node].forbid_channels(until);
        end_all_at(node, true);
    }

    void post(Pipe& pipe, Message message, Event::Kind kind, ConnectionId id) {
        const Instant arrival = now_ + delay_of(id, message);
        pipe.last_arrival = std::max(pipe.last_arrival, arrival);
        pipe.messages.push_back(std::move(message));
        queue_.add(pipe.last_arrival, kind, id);
    }

    void post_to_client(ConnectionId id, Message message) {
        Connection& connection = connections_[id];
        if (!connection.is_client_open) return;
        post(connection.to_client, std::move(message), Event::Kind::to_client, id);
    }

    void end_at_node(ConnectionId id) {
        Connection& connection = connections_[id];
        connection.is_at_node = false;
        connection.to_node.messages.clear();
        if (connection.is_subscriber) nodes_[connection.node].redis().unsubscribe(id);
    }

    void end_all_at(std::uint32_t node, bool only_subscribers) {
        for (ConnectionId id = 0; id < connections_.size(); ++id) {
            const Connection& connection = connections_[id];
            if (connection.node != node || (only_subscribers && !connection.is_subscriber)) continue;
            reset(id);
            end_at_node(id);
        }
    }

    void reset(ConnectionId id) {
        if (id == no_connection || !connections_[id].is_at_node) return;
        end_at_node(id);
        Connection& connection = connections_[id];
        connection.to_client.messages.clear();
        Link& way = link(connection.client, connection.node);
        const bool is_late = plan_.hooks == nullptr && way.random.one_in(4);
        const Instant late =
            is_late ? way.random.spread(Instant{1'000'000}, Instant{2'000'000'000}) : Instant{0};
        connection.to_client.last_arrival = std::max(connection.to_client.last_arrival, now_ + late);
        post_to_client(id, {Message::Kind::reset});
    }

    void welcome(Connection& connection, ConnectionId id, std::string_view channel) {
        SimNode& node = nodes_[connection.node];
        const bool is_welcome = node.is_up() && (channel.empty() || node.subscribe(id, channel));
        if (!is_welcome) return post_to_client(id, {Message::Kind::reset});
        connection.is_at_node = true;
        if (plan_.loads_scripts && channel.empty()) node.redis().learn_scripts();
        Message message{Message::Kind::welcome};
        message.info = node.info(plan_.hides_run_ids);
        post_to_client(id, std::move(message));
    }

    void execute(Connection& connection, ConnectionId id, const Message& request) {
        if (!connection.is_at_node) return post_to_client(id, {Message::Kind::reset});
        execute_all(connection.node, request.bytes, connection.is_client_open ? "" : "late: ", id);
        Link& way = link(connection.client, connection.node);
        if (!std::exchange(way.duplicates_next, false)) return;
        ghosts_.push_back({connection.node, request.bytes});
        queue_.add(now_ + way.random.spread(Instant{10'000}, Instant{plan_.ttl_max}), Event::Kind::ghost,
                   static_cast<std::uint32_t>(ghosts_.size() - 1));
    }

    void execute_all(std::uint32_t node, std::string_view stream, std::string_view how, ConnectionId id) {
        while (take_request(stream, words_)) {
            const bool is_stray = id == no_connection || (how == "late: " && plan_.hides_run_ids);
            has_shortened_late_ |= is_stray && words_.back() == "exactly";
            ModelReply reply = nodes_[node].execute(words_);
            if (timeline_.is_on()) {
                timeline_.note(now_, "    node ", node, ": ", how, name_of(words_), " ",
                               token_of(words_).substr(0, 6), " -> ", text_of(reply));
            }
            for (const ModelRedis::Notice& notice : nodes_[node].redis().take_notices()) call(notice);
            if (id == no_connection) continue;
            if (plan_.hooks != nullptr) plan_.hooks->on_executed(ends_of(id), nodes_[node], words_, reply);
            if (!connections_[id].is_client_open) late_tokens_.emplace_back(token_of(words_));
            Message message{Message::Kind::reply};
            message.reply = std::move(reply);
            post_to_client(id, std::move(message));
        }
    }

    /// A notice on its way to a subscriber.
    void call(const ModelRedis::Notice& notice) {
        const Connection& connection = connections_[notice.subscriber];
        Link& way = link(connection.client, connection.node);
        const bool is_lost = now_ < way.mute_until;
        const bool has_echo = !is_lost && now_ < way.echo_until;
        const bool is_late = has_echo && way.random.chance(50);
        timeline_.note(now_, "    node ", connection.node, ": calls client ", connection.client,
                       is_lost    ? ", in vain"
                       : is_late  ? ", late"
                       : has_echo ? ", twice"
                                  : "");
        if (has_echo) {
            echoes_.push_back({notice.subscriber, notice.payload});
            queue_.add(now_ + way.random.spread(Instant{10'000}, Instant{plan_.ttl_max}), Event::Kind::echo,
                       static_cast<std::uint32_t>(echoes_.size() - 1));
        }
        if (is_lost || is_late) return;
        post_to_client(notice.subscriber, {Message::Kind::notice, no_connection, notice.payload});
    }

    const Plan& plan_;
    const Instant& now_;
    EventQueue& queue_;
    Timeline& timeline_;
    bool has_shortened_late_ = false;
    std::vector<SimNode> nodes_;
    Links links_;
    std::vector<Latest> latest_ = std::vector<Latest>(std::size_t{Plan::clients_max} * Plan::nodes_max);
    std::deque<Connection> connections_;
    std::vector<std::vector<Arrival>> inboxes_;
    std::vector<Ghost> ghosts_;
    std::vector<Echo> echoes_;
    std::vector<std::string> late_tokens_;
    std::vector<std::string_view> words_;
};

}  // namespace redlock::sim

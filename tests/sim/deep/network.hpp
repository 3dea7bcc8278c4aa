// SPDX-License-Identifier: Apache-2.0
// TCP and name look-ups between clients and servers: bytes that arrive in order, in pieces of any size, late
// or never.
#pragma once

#include <poll.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <tuple>
#include <utility>
#include <vector>

#include "redlock/hiredis/resolver.hpp"
#include "redlock/hiredis/system.hpp"
#include "sim/deep/connects.hpp"
#include "sim/deep/server.hpp"
#include "sim/events.hpp"
#include "sim/links.hpp"
#include "sim/model_redis.hpp"
#include "sim/node.hpp"
#include "sim/outcome.hpp"
#include "sim/plan.hpp"
#include "sim/timeline.hpp"

namespace redlock::sim::deep {

/// A look-up of a host name, which ends by an event.
struct Lookup {
    using Outcome = hiredis::LookupState::Outcome;
    std::uint32_t client;
    std::uint32_t node;
    std::optional<Outcome> result{};

    [[nodiscard]] const std::optional<Outcome>& outcome() const noexcept { return result; }
    template <class WakeUp>
    void tell(const WakeUp& /*unused: the world steps the client*/) const noexcept {}
};

class Network {
   public:
    Network(const Plan& plan, const Instant& now, EventQueue& queue, Timeline& timeline)
        : plan_{plan}, now_{now}, queue_{queue}, timeline_{timeline}, links_{plan, now}, connects_{plan} {
        nodes_.reserve(plan.node_count);
        for (std::uint32_t n = 0; n < plan.node_count; ++n) {
            nodes_.emplace_back(n, Pace{plan.node_ppm[n]}, now);
            if (plan.wiring.nodes[n].expires_early) nodes_.back().redis().store().expire_early();
            servers_.emplace_back(nodes_.back(), plan.wiring, plan.wiring.nodes[n].denied, plan.hides_run_ids,
                                  now, Random{plan.seed, 2000 + n});
        }
        if (plan.has(Fault::Kind::crash_undo) || plan.has(Fault::Kind::failover)) {
            for (SimNode& node : nodes_) node.redis().store().keep_journal();
        }
    }

    [[nodiscard]] const Plan& plan() const noexcept { return plan_; }
    [[nodiscard]] const Instant& now() const noexcept { return now_; }
    [[nodiscard]] Timeline& timeline() noexcept { return timeline_; }
    [[nodiscard]] std::vector<SimNode>& nodes() noexcept { return nodes_; }

    // ---- for clients -------------------------------------------------------------------------------

    [[nodiscard]] static std::string host_of(std::uint32_t node) {
        return "node" + std::to_string(node) + ".test";
    }
    /// The address in place `index` of a node; its own is at 0.
    [[nodiscard]] static std::string address_of(std::uint32_t node, std::size_t index) {
        return "10.0." + std::to_string(node) + "." + std::to_string(index + 1);
    }
    [[nodiscard]] static std::string path_of(std::uint32_t node) {
        return "/run/node" + std::to_string(node);
    }

    [[nodiscard]] std::shared_ptr<Lookup> look_up(std::uint32_t client, const std::string& host) {
        const std::size_t digits = std::string_view{"node"}.size();
        const auto node = static_cast<std::uint32_t>(ModelStore::number(host.substr(digits, 1)));
        lookups_.push_back(std::make_shared<Lookup>(Lookup{client, node}));
        const Instant arrival = now_ + links_.draw_delay(links_.between(client, node));
        queue_.add(arrival, Event::Kind::lookup, static_cast<std::uint32_t>(lookups_.size() - 1));
        return lookups_.back();
    }

    /// Whether a look-up of the client has ended since this was last asked: it wakes who waits.
    [[nodiscard]] bool take_has_looked_up(std::uint32_t client) {
        return std::exchange(has_looked_up_[client], false);
    }

    /// Begins to connect to an address.
    [[nodiscard]] ConnectionId connect(std::uint32_t client, std::string_view address) {
        const auto id = static_cast<ConnectionId>(connections_.size());
        Connection& connection = connections_.emplace_back();
        connection.client = client;
        std::tie(connection.node, connection.place) = place_of(address);
        connection.server =
            now_ < moved_until_[connection.node] ? (connection.node + 1) % plan_.node_count : connection.node;
        if (auto excess = connects_.add(client, connection.node, now_))
            report(Property::few_connects, *excess);
        post_to_server(id, {Piece::Kind::open});
        return id;
    }

    /// Whether the client is only now told that a node has no room for it.
    [[nodiscard]] bool is_turned_away(std::uint32_t client, std::uint32_t node) const {
        return turned_away_at_[client * Plan::nodes_max + node] == now_;
    }
    void report(Property property, std::string what) {
        if (!breach_) breach_.emplace(property, std::move(what));
    }

    // ---- for byte streams --------------------------------------------------------------------------

    [[nodiscard]] short readiness(ConnectionId id, short wanted) const {
        const Connection& connection = connections_[id];
        int ready = 0;
        if (connection.stage == Stage::connecting) return 0;
        const bool has_ended = connection.stage == Stage::ended;
        if (!connection.inbound.empty() || has_ended) ready |= POLLIN;
        if (has_ended && connection.error != 0) ready |= POLLERR | POLLHUP;
        if (has_ended || room_of(connection) > 0) ready |= POLLOUT;
        return static_cast<short>(ready & (wanted | POLLERR | POLLHUP));
    }
    [[nodiscard]] int connect_error(ConnectionId id) const {
        return connections_[id].was_connected ? 0 : connections_[id].error;
    }
    [[nodiscard]] std::ptrdiff_t send(ConnectionId id, std::string_view bytes) {
        Connection& connection = connections_[id];
        if (connection.stage == Stage::ended && connection.error != 0) return -1;
        const std::size_t size = std::min(bytes.size(), room_of(connection));
        if (size == 0) return 0;
        if (!connection.is_dead) post_to_server(id, {Piece::Kind::bytes, std::string{bytes.substr(0, size)}});
        return static_cast<std::ptrdiff_t>(size);
    }
    [[nodiscard]] hiredis::Received receive(ConnectionId id, std::span<char> buffer) {
        using Kind = hiredis::Received::Kind;
        Connection& connection = connections_[id];
        const std::size_t size = std::min(buffer.size(), connection.inbound.size());
        if (size > 0) {
            std::copy_n(connection.inbound.begin(), size, buffer.begin());
            connection.inbound.erase(0, size);
            return {Kind::bytes, size, 0};
        }
        if (connection.stage == Stage::ended) return {Kind::end, 0, connection.error};
        return {};
    }
    [[nodiscard]] bool has_news(ConnectionId id) const {
        return !connections_[id].inbound.empty() || connections_[id].stage == Stage::ended;
    }
    /// The client's end is closed. What was sent still arrives, and the end behind it.
    void close(ConnectionId id, Farewell farewell) {
        Connection& connection = connections_[id];
        if (!std::exchange(connection.is_client_open, false)) return;
        connection.to_client.pieces.clear();
        connection.inbound.clear();
        if (connection.is_dead || farewell == Farewell::none) return;
        post_to_server(id, {Piece::Kind::end});
    }

    void close_all(std::uint32_t client, Farewell farewell) {
        for (ConnectionId id = 0; id < connections_.size(); ++id) {
            if (connections_[id].client == client) close(id, farewell);
        }
    }

    // ---- for the world -----------------------------------------------------------------------------

    std::optional<std::uint32_t> happen(const Event& event) {
        switch (event.kind) {
            case Event::Kind::to_node: deliver_to_server(event.subject); return std::nullopt;
            case Event::Kind::to_client: return deliver_to_client(event.subject);
            case Event::Kind::lookup: return end_lookup(*lookups_[event.subject]);
            default: return std::nullopt;
        }
    }

    std::optional<std::uint32_t> begin(const Fault& fault, Instant until) {
        using Kind = Fault::Kind;
        Server& server = servers_[fault.node];
        const auto amount = static_cast<std::size_t>(fault.amount);
        switch (fault.kind) {
            case Kind::partition: links_.block(fault.links, until); break;
            case Kind::slow: links_.slow_down(fault.links, until); break;
            case Kind::reset: reset_latest(fault, Cut::both_ends); break;
            case Kind::half_reset: return cut_at_client(fault, until);
            case Kind::unsubscribe: end_subscriptions(fault); break;
            case Kind::refuse: server.refuse(static_cast<Server::Refusal>(amount), until); break;
            case Kind::forbid: forbid(fault, until); break;
            case Kind::dead: reset_latest(fault, Cut::silent); break;
            case Kind::hang_up: server.hang_up_after(amount, until); break;
            case Kind::crowded: server.be_crowded(until); break;
            case Kind::password: change_password(fault, until); break;
            case Kind::failover: fail_over(fault); break;
            case Kind::moved: moved_until_[fault.node] = until; break;
            case Kind::unknown: unknown_until_[fault.node] = until; break;
            default: break;
        }
        return std::nullopt;
    }

    /// All faults end.
    void calm_down() noexcept { links_.calm_down(); }

    void crash(std::uint32_t node) {
        nodes_[node].go_down();
        servers_[node].begin_anew();
        for (ConnectionId id = 0; id < connections_.size(); ++id) {
            if (connections_[id].server == node && connections_[id].place == 0) end_both(id);
        }
    }

    /// The first violation that was seen here.
    [[nodiscard]] const std::optional<std::pair<Property, std::string>>& breach() const noexcept {
        return breach_;
    }
    [[nodiscard]] bool has_shortened_late() const noexcept { return has_shortened_late_; }
    /// Whether a request with this token ran after the client's end of the connection was gone.
    [[nodiscard]] bool ran_late(const std::string& token) const {
        return std::find(late_tokens_.begin(), late_tokens_.end(), token) != late_tokens_.end();
    }

    /// Whether one ran at another node's server. Its release may go to the node's own, where nothing is known
    /// of it: then the key stays for its ttl.
    [[nodiscard]] bool ran_astray(const std::string& token) const {
        return std::find(astray_tokens_.begin(), astray_tokens_.end(), token) != astray_tokens_.end();
    }

   private:
    static constexpr std::size_t whole = 65536;
    enum class Stage : std::uint8_t { connecting, connected, ended };
    enum class Cut : std::uint8_t { both_ends, silent };
    struct Piece {
        enum class Kind : std::uint8_t { open, bytes, end, reset };
        Kind kind{};
        std::string bytes{};
    };
    struct Pipe {
        std::deque<Piece> pieces{};
        Instant last_arrival{0};
        std::size_t size = 0;  ///< bytes on their way

        Piece take() {
            Piece piece = std::move(pieces.front());
            pieces.pop_front();
            size -= piece.bytes.size();
            return piece;
        }
    };
    struct Connection {
        std::uint32_t client = 0;
        std::uint32_t node = 0;    ///< by its address
        std::uint32_t server = 0;  ///< that of the node, or of another
        std::size_t place = 0;     ///< which of the node's addresses
        Stage stage = Stage::connecting;
        int error = 0;
        bool was_connected = false;
        bool is_client_open = true;
        bool is_dead = false;
        bool is_turned_away = false;  ///< the server has no room for it, and has said so
        Instant held_until{0};        ///< what was sent arrives no sooner
        std::optional<Session> session{};
        Pipe to_server{};
        Pipe to_client{};
        std::string inbound{};  ///< has reached the client, and is not read yet
    };

    [[nodiscard]] std::size_t room_of(const Connection& connection) const noexcept {
        if (connection.is_dead) return plan_.wiring.socket_room;
        const std::size_t used = std::min(connection.to_server.size, plan_.wiring.socket_room);
        return plan_.wiring.socket_room - used;
    }

    [[nodiscard]] static std::pair<std::uint32_t, std::size_t> place_of(std::string_view address) {
        if (address.starts_with("/run/node")) {
            return {static_cast<std::uint32_t>(ModelStore::number(address.substr(9))), 0};
        }
        const std::string_view rest = address.substr(std::string_view{"10.0."}.size());
        const auto node = static_cast<std::uint32_t>(ModelStore::number(rest));
        const auto place = static_cast<std::size_t>(ModelStore::number(rest.substr(rest.find('.') + 1)));
        return {node, place - 1};
    }

    // ---- pieces ------------------------------------------------------------------------------------

    [[nodiscard]] Link& link_of(const Connection& connection) {
        return links_.between(connection.client, connection.node);
    }

    /// What is written together arrives in pieces, one right behind the other.
    void post(Pipe& pipe, Piece piece, Event::Kind kind, ConnectionId id) {
        Link& link = link_of(connections_[id]);
        Instant arrival = std::max(pipe.last_arrival, now_ + links_.draw_delay(link));
        const std::size_t piece_max = plan_.wiring.piece_max;
        const std::string bytes = std::move(piece.bytes);
        pipe.size += bytes.size();
        std::size_t done = 0;
        do {
            const std::size_t most = std::min(bytes.size() - done, piece_max);
            const bool is_cut = bytes.size() > 1 && piece_max < whole;
            const auto size = is_cut ? 1 + link.random.below(most) : most;
            pipe.pieces.push_back({piece.kind, bytes.substr(done, size)});
            queue_.add(arrival, kind, id);
            done += size;
            if (is_cut) arrival += link.random.between(Instant{0}, Instant{2'000});
        } while (done < bytes.size());
        pipe.last_arrival = arrival;
    }

    void reply(ConnectionId id, std::string bytes) {
        post_to_client(id, {Piece::Kind::bytes, std::move(bytes)});
    }
    void post_to_client(ConnectionId id, Piece piece) {
        Connection& connection = connections_[id];
        if (!connection.is_client_open || connection.is_dead) return;
        post(connection.to_client, std::move(piece), Event::Kind::to_client, id);
    }
    void post_to_server(ConnectionId id, Piece piece) {
        post(connections_[id].to_server, std::move(piece), Event::Kind::to_node, id);
    }

    // ---- at the client -----------------------------------------------------------------------------

    std::optional<std::uint32_t> deliver_to_client(ConnectionId id) {
        Connection& connection = connections_[id];
        const Instant free_at = links_.between(connection.client, connection.node).blocked_until;
        if (free_at > now_) {
            queue_.add(free_at, Event::Kind::to_client, id);
            return std::nullopt;
        }
        if (connection.to_client.pieces.empty() || !connection.is_client_open) return std::nullopt;
        const Piece piece = connection.to_client.take();
        switch (piece.kind) {
            case Piece::Kind::open:
                connection.stage = Stage::connected;
                connection.was_connected = true;
                break;
            case Piece::Kind::bytes: connection.inbound += piece.bytes; break;
            case Piece::Kind::end:
            case Piece::Kind::reset:
                end_at_client(connection, piece.kind);
                if (connection.is_turned_away && piece.kind == Piece::Kind::end) {
                    turned_away_at_[connection.client * Plan::nodes_max + connection.node] = now_;
                }
                break;
        }
        return connection.client;
    }

    static void end_at_client(Connection& connection, Piece::Kind how) {
        if (how == Piece::Kind::reset) {
            connection.error = connection.was_connected ? ECONNRESET : ECONNREFUSED;
            connection.inbound.clear();  // as TCP does
        }
        connection.stage = Stage::ended;
    }

    std::optional<std::uint32_t> end_lookup(Lookup& lookup) {
        const Wiring::Node& node = plan_.wiring.nodes[lookup.node];
        Lookup::Outcome outcome;
        if (now_ < unknown_until_[lookup.node]) {
            outcome.error = "Temporary failure in name resolution";
            outcome.may_pass = true;
        } else {
            for (std::size_t i = 0; i < node.decoys.size(); ++i) {
                outcome.addresses.push_back(address_of(lookup.node, i + 1));
            }
            const auto own = node.has_decoys_first ? outcome.addresses.end() : outcome.addresses.begin();
            outcome.addresses.insert(own, address_of(lookup.node, 0));
        }
        lookup.result = std::move(outcome);
        has_looked_up_[lookup.client] = true;
        return lookup.client;
    }

    // ---- at the server -----------------------------------------------------------------------------

    void deliver_to_server(ConnectionId id) {
        Connection& connection = connections_[id];
        SimNode& node = nodes_[connection.server];
        if (connection.to_server.pieces.empty()) return;
        const bool is_kernels = connection.to_server.pieces.front().kind == Piece::Kind::open;
        const Instant process_free_at = is_kernels ? Instant{0} : node.hung_until();
        const Instant free_at = std::max({process_free_at, connection.held_until,
                                          links_.between(connection.client, connection.node).blocked_until});
        if (free_at > now_) return queue_.add(free_at, Event::Kind::to_node, id);
        const Piece piece = connection.to_server.take();
        switch (piece.kind) {
            case Piece::Kind::open: return open(connection, id);
            case Piece::Kind::bytes: return take(connection, id, piece.bytes);
            default: return end_at_server(id);
        }
    }

    void open(Connection& connection, ConnectionId id) {
        const Wiring::Node& node = plan_.wiring.nodes[connection.node];
        std::optional<Wiring::Decoy> decoy;
        if (connection.place > 0) decoy = node.decoys[connection.place - 1];
        if (decoy == Wiring::Decoy::is_silent) return;
        const bool is_down = connection.place == 0 && !nodes_[connection.server].is_up();
        if (decoy == Wiring::Decoy::refuses || is_down) return post_to_client(id, {Piece::Kind::reset});
        post_to_client(id, {Piece::Kind::open});
        timeline_.note(now_, "    node ", connection.node, ": accepts client ", connection.client,
                       decoy                                  ? " at another address"
                       : connection.server != connection.node ? ", as another node"
                                                              : "");
        Server& server = servers_[connection.server];
        connection.session = server.accept(id);
        connection.session->decoy = decoy;
        if (decoy) return;
        if (server.is_crowded()) {
            connection.is_turned_away = true;
            reply(id, "-ERR max number of clients reached\r\n");
        } else if (!server.hangs_up_at_once()) {
            return;
        }
        post_to_client(id, {Piece::Kind::end});
        end_at_server(id);
    }

    void take(Connection& connection, ConnectionId id, std::string_view bytes) {
        if (!connection.session) return;  // of a connection that the server has ended
        connection.session->input += bytes;
        std::string_view input = connection.session->input;
        while (connection.session && take_request(input, words_)) serve(connection, id);
        if (connection.session) {
            const std::size_t used = connection.session->input.size() - input.size();
            connection.session->input.erase(0, used);
        }
    }

    void serve(Connection& connection, ConnectionId id) {
        Session& session = *connection.session;
        Server& server = servers_[connection.server];
        const bool is_late = !connection.is_client_open;
        const std::string_view token = token_of(words_);
        const bool had_served = session.has_served;
        Answer answer = server.answer(session, words_);
        if (session.has_served) check_request(connection, is_late, token);
        if (!had_served && session.has_served) connects_.forgive(connection.client, connection.node);
        if (answer.kills) answer.bytes = resp_of_number(kill(connection, *answer.kills));
        note(connection, is_late, answer.bytes);
        reply(id, answer.bytes);
        for (const ModelRedis::Notice& notice : nodes_[connection.server].redis().take_notices())
            call(notice);
        if (!answer.hangs_up || !connection.session) return;
        post_to_client(id, {Piece::Kind::end});
        end_at_server(id);
    }

    void check_request(const Connection& connection, bool is_late, std::string_view token) {
        const Session& session = *connection.session;
        if (session.db != plan_.wiring.db) {
            report(Property::only_ours, "a request ran in database " + std::to_string(session.db));
        }
        if (connection.server != connection.node) astray_tokens_.emplace_back(token);
        if (!is_late) return;
        late_tokens_.emplace_back(token);
        has_shortened_late_ |= plan_.hides_run_ids && words_.back() == "exactly";
        if (!plan_.hides_run_ids && is_replaced(connection)) {
            report(Property::no_orphans, "a request ran on a connection that another has replaced");
        }
    }

    /// Whether the client has had requests served on a later connection to this node and server process: that
    /// has ended this one before.
    [[nodiscard]] bool is_replaced(const Connection& connection) const {
        return std::any_of(connections_.begin(), connections_.end(), [&](const Connection& other) {
            return other.session && other.session->has_served && other.client == connection.client &&
                   other.node == connection.node && other.server == connection.server &&
                   other.session->generation == connection.session->generation &&
                   other.session->id > connection.session->id;
        });
    }

    /// Of a login, the first refusal.
    void note(Connection& connection, bool is_late, std::string_view answer) {
        const bool is_refused = answer.starts_with("-");
        if (!timeline_.is_on() || (is_routine() && !is_refused)) return;
        if (is_routine() && connection.session && std::exchange(connection.session->has_refused, true))
            return;
        timeline_.note(now_, "    node ", connection.server, ": ", is_late ? "late: " : "",
                       connection.place == 0 ? "" : "another server: ", what(), " -> ", printable(answer));
    }
    /// What every login has.
    [[nodiscard]] bool is_routine() const {
        constexpr std::array routine{"AUTH", "INFO", "SELECT", "SCRIPT", "SUBSCRIBE"};
        const bool is_of_login =
            std::any_of(routine.begin(), routine.end(), [&](const char* name) { return words_[0] == name; });
        const bool ends_another = words_[0] == "CLIENT" && words_.size() > 2 && words_[1] == "KILL";
        const bool is_question = words_.size() > 2 && words_[0].starts_with("EVAL") && words_[2] == "0";
        return is_of_login || is_question || (words_[0] == "CLIENT" && !ends_another);
    }
    [[nodiscard]] std::string what() const {
        if (words_[0] == "CLIENT") return "CLIENT " + std::string{words_[1]};
        if (is_routine()) return std::string{words_[0]};
        return std::string{name_of(words_)}.append(" ").append(token_of(words_).substr(0, 6));
    }
    [[nodiscard]] static std::string printable(std::string_view bytes) {
        std::string text{bytes.substr(0, 50)};
        std::erase(text, '\r');
        std::replace(text.begin(), text.end(), '\n', ' ');
        while (text.ends_with(' ')) text.pop_back();
        return text;
    }

    /// CLIENT KILL: of this client's own connections only.
    [[nodiscard]] std::int64_t kill(const Connection& by, std::int64_t session_id) {
        std::int64_t count = 0;
        for (ConnectionId id = 0; id < connections_.size(); ++id) {
            Connection& other = connections_[id];
            if (!other.session || other.server != by.server || other.place != by.place) continue;
            if (other.session->id != session_id || other.session->generation != by.session->generation)
                continue;
            if (other.client != by.client) {
                report(Property::only_ours, "a client ended the connection of another");
            }
            post_to_client(id, {Piece::Kind::end});
            end_at_server(id);
            ++count;
        }
        return count;
    }

    void call(const ModelRedis::Notice& notice) {
        const Connection& connection = connections_[notice.subscriber];
        timeline_.note(now_, "    node ", connection.node, ": calls client ", connection.client);
        reply(notice.subscriber, resp_of_list({"message", connection.session->channel, notice.payload}));
    }

    void end_at_server(ConnectionId id) {
        Connection& connection = connections_[id];
        if (!connection.session) return;
        if (!connection.session->channel.empty()) nodes_[connection.server].redis().unsubscribe(id);
        connection.session.reset();
    }

    // ---- faults ------------------------------------------------------------------------------------

    /// Both ends, and what is on its way is gone.
    void end_both(ConnectionId id) {
        Connection& connection = connections_[id];
        connection.to_server.pieces.clear();
        connection.to_server.size = 0;
        connection.to_client.pieces.clear();
        end_at_server(id);
        if (connection.stage != Stage::ended) post_to_client(id, {Piece::Kind::reset});
    }

    void reset_latest(const Fault& fault, Cut cut) {
        for (const ConnectionId id : open_between(fault.client, fault.node)) {
            if (cut == Cut::both_ends) {
                end_both(id);
            } else {
                connections_[id].is_dead = true;
                connections_[id].to_client.pieces.clear();
                connections_[id].to_server.pieces.clear();
            }
        }
    }

    /// Of those that are open at the client, the one for requests and the one that subscribes.
    [[nodiscard]] std::vector<ConnectionId> open_between(std::uint32_t client, std::uint32_t node) const {
        std::vector<ConnectionId> open;
        for (ConnectionId id = 0; id < connections_.size(); ++id) {
            const Connection& connection = connections_[id];
            if (connection.client == client && connection.node == node && connection.is_client_open &&
                connection.session) {
                open.push_back(id);
            }
        }
        return open;
    }

    /// The client's end is reset; what it had sent arrives late.
    std::optional<std::uint32_t> cut_at_client(const Fault& fault, Instant held_until) {
        for (const ConnectionId id : open_between(fault.client, fault.node)) {
            Connection& connection = connections_[id];
            if (!connection.session->channel.empty()) continue;
            connection.held_until = held_until;
            connection.to_client.pieces.clear();
            end_at_client(connection, Piece::Kind::reset);
            return fault.client;
        }
        return std::nullopt;
    }

    void end_subscriptions(const Fault& fault) {
        for (const ConnectionId id : open_between(fault.client, fault.node)) {
            if (!connections_[id].session->channel.empty()) end_both(id);
        }
    }

    void forbid(const Fault& fault, Instant until) {
        if (fault.amount != 0) return nodes_[fault.node].forbid_queues(until);
        nodes_[fault.node].forbid_channels(until);
        for (ConnectionId id = 0; id < connections_.size(); ++id) {
            const Connection& connection = connections_[id];
            const bool is_its = connection.server == fault.node && connection.session;
            if (is_its && !connection.session->channel.empty()) end_both(id);
        }
    }

    /// For new connections; for old ones too, or these end.
    void change_password(const Fault& fault, Instant until) {
        servers_[fault.node].change_password(until);
        if (fault.amount == 1) servers_[fault.node].forget_logins();
        if (fault.amount != 2) return;
        for (ConnectionId id = 0; id < connections_.size(); ++id) {
            if (connections_[id].server == fault.node && connections_[id].session) end_both(id);
        }
    }

    /// Another server takes the node's place. Connections to the old one stay, and find a replica there.
    void fail_over(const Fault& fault) {
        SimNode& node = nodes_[fault.node];
        if (fault.amount > 0) node.redis().store().undo_last_writes(static_cast<std::size_t>(fault.amount));
        servers_[fault.node].begin_anew();
        node.be_replaced();
        for (ConnectionId id = 0; id < connections_.size(); ++id) {
            const Connection& connection = connections_[id];
            const bool is_its =
                connection.server == fault.node && connection.place == 0 && connection.session;
            if (is_its && !connection.session->channel.empty()) node.redis().unsubscribe(id);
        }
    }

    const Plan& plan_;
    const Instant& now_;
    EventQueue& queue_;
    Timeline& timeline_;
    Links links_;
    Connects connects_;
    std::vector<SimNode> nodes_;
    std::deque<Server> servers_;
    std::deque<Connection> connections_;
    std::vector<std::shared_ptr<Lookup>> lookups_;
    std::array<bool, Plan::clients_max> has_looked_up_{};
    std::array<Instant, Plan::nodes_max> unknown_until_{};
    std::array<Instant, Plan::nodes_max> moved_until_{};
    std::array<Instant, std::size_t{Plan::clients_max} * Plan::nodes_max> turned_away_at_{};
    std::vector<std::string> late_tokens_;
    std::vector<std::string> astray_tokens_;
    std::vector<std::string_view> words_;
    std::optional<std::pair<Property, std::string>> breach_;
    bool has_shortened_late_ = false;
};

}  // namespace redlock::sim::deep

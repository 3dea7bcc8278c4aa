// SPDX-License-Identifier: Apache-2.0
#include "chaos/nodes.hpp"

#include <hiredis/hiredis.h>

#include <algorithm>
#include <memory>
#include <stop_token>

#include "support/redis_client.hpp"

namespace redlock::chaos {
namespace {

using namespace std::chrono_literals;
using test::Direction;

// How long a client may need to connect again.
constexpr auto reconnecting = 500ms;

constexpr const char* flood_prefix = "flood:";

// Sends many commands at once, again and again, until it is told to stop. None of them touches a lock.
void flood(const std::stop_token& stop, const std::string& socket_path) {
    const timeval timeout{1, 0};
    const std::string text(1000, 'x');
    while (!stop.stop_requested()) {
        const std::unique_ptr<redisContext, test::CloseContext> connection{
            redisConnectUnixWithTimeout(socket_path.c_str(), timeout)};
        if (connection == nullptr || connection->err != 0) return;
        redisSetTimeout(connection.get(), timeout);
        while (!stop.stop_requested() && connection->err == 0) {
            constexpr int batch = 300;
            for (int i = 0; i < batch; ++i) {
                redisAppendCommand(connection.get(), i % 10 == 0 ? "SET %s%d %s" : "GET %s%d", flood_prefix,
                                   i, text.c_str());
            }
            void* reply = nullptr;
            for (int i = 0; i < batch && !stop.stop_requested(); ++i) {
                if (redisGetReply(connection.get(), &reply) != REDIS_OK) break;
                freeReplyObject(reply);
            }
        }
    }
}

test::ServerOptions server_options() {
    test::ServerOptions options;
    options.append_only = true;  // and appendfsync always
    options.arguments = {"--auto-aof-rewrite-min-size", "8mb"};
    return options;
}

}  // namespace

Nodes::Nodes() : servers_{node_count, server_options()} {
    const auto uris = servers_.uris();
    for (std::size_t i = 0; i < node_count; ++i) {
        nodes_[i].started_at = time_now();
        nodes_[i].proxy = std::make_unique<test::DelayProxy>(std::vector{uris[i]}, 0ns);
    }
}

std::vector<std::string> Nodes::uris() const {
    std::vector<std::string> all;
    for (const Node& node : nodes_) all.push_back(node.proxy->uris().front());
    return all;
}

void Nodes::begin(const Fault& fault) {
    for (const std::size_t node : fault.targets) {
        nodes_.at(node).fault = fault.kind;
        begin(node, fault);
    }
}

void Nodes::begin(std::size_t index, const Fault& fault) {
    Node& node = nodes_[index];
    test::RedisServer& server = servers_[index];
    switch (fault.kind) {
        case FaultKind::kill_keep:
        case FaultKind::kill_forget: server.kill(); break;
        case FaultKind::stop: server.pause(); break;
        // Its master does not exist, so that it keeps what it has: a copy of another server would forget.
        case FaultKind::replica: server.query({"REPLICAOF", "127.0.0.1", "1"}); break;
        case FaultKind::client_pause:
            server.query({"CLIENT", "PAUSE", std::to_string(fault.lasts.count()), "ALL"});
            break;
        case FaultKind::flood:
            for (int i = 0; i < 2; ++i) node.flooders.emplace_back(flood, server.socket_path());
            break;
        case FaultKind::partition: node.proxy->hang(0); break;
        case FaultKind::half_partition: node.proxy->hang(0, Direction::to_client); break;
        case FaultKind::blackhole:
            node.proxy->blackhole(0, Direction::to_node);
            node.proxy->blackhole(0, Direction::to_client);
            break;
        case FaultKind::delay: node.proxy->set_delay(fault.delay); break;
        case FaultKind::reset: node.proxy->cut(0); break;
        case FaultKind::pause_client:
        case FaultKind::kill_client: break;
    }
}

void Nodes::set_quarantine(std::chrono::milliseconds quarantine) {
    quarantine_ = quarantine;
    for (Node& node : nodes_) node.well_at = std::max(node.well_at, node.started_at + ns(quarantine));
}

void Nodes::end(const Fault& fault) {
    // All restarts are begun before one of them is waited for.
    for (const std::size_t node : fault.targets) end(node, fault.kind);
    const bool restarts = fault.kind == FaultKind::kill_keep || fault.kind == FaultKind::kill_forget;
    for (const std::size_t node : fault.targets) {
        if (restarts) {
            servers_[node].wait_until_ready();
            nodes_[node].started_at = time_now();
        }
        nodes_[node].well_at = time_now() + ns(reconnecting + (restarts ? quarantine_ : 0ms));
        nodes_[node].fault.reset();
    }
}

void Nodes::end(std::size_t index, FaultKind kind) {
    Node& node = nodes_.at(index);
    test::RedisServer& server = servers_[index];
    switch (kind) {
        case FaultKind::kill_keep: server.begin_restart(test::Data::keep); break;
        case FaultKind::kill_forget: server.begin_restart(test::Data::discard); break;
        case FaultKind::stop: server.resume(); break;
        case FaultKind::replica: server.query({"REPLICAOF", "NO", "ONE"}); break;
        case FaultKind::flood: node.flooders.clear(); break;
        case FaultKind::partition:
        case FaultKind::half_partition: node.proxy->resume(0); break;
        case FaultKind::blackhole:
            node.proxy->cut(0);
            node.proxy->resume(0);
            break;
        case FaultKind::delay: node.proxy->set_delay(0ns); break;
        case FaultKind::client_pause:  // ends by itself
        case FaultKind::reset:
        case FaultKind::pause_client:
        case FaultKind::kill_client: break;
    }
}

void Nodes::heal() {
    for (std::size_t i = 0; i < node_count; ++i) {
        nodes_[i].flooders.clear();
        nodes_[i].proxy->resume(0);
        nodes_[i].proxy->set_delay(0ns);
        nodes_[i].fault.reset();
    }
    servers_.heal();
}

std::size_t Nodes::in_trouble() const {
    const Nanoseconds now = time_now();
    return static_cast<std::size_t>(std::count_if(nodes_.begin(), nodes_.end(), [now](const Node& node) {
        return node.fault.has_value() || node.well_at > now;
    }));
}

std::string Nodes::troubles() const {
    std::string text;
    for (std::size_t i = 0; i < node_count; ++i) {
        const bool is_recovering = nodes_[i].well_at > time_now();
        if (!nodes_[i].fault && !is_recovering) continue;
        if (!text.empty()) text += ", ";
        text += std::to_string(i) + " " + (nodes_[i].fault ? to_string(*nodes_[i].fault) : "recovering");
    }
    return text;
}

std::vector<std::string> Nodes::keys_left() {
    auto keys = servers_.keys_left();
    std::erase_if(keys, [](const std::string& key) { return key.find(flood_prefix) != std::string::npos; });
    return keys;
}

std::optional<std::string> Nodes::ended_by_itself() {
    for (std::size_t i = 0; i < node_count; ++i) {
        const auto fault = nodes_[i].fault;
        if (fault == FaultKind::kill_keep || fault == FaultKind::kill_forget) continue;
        if (servers_[i].running()) continue;
        constexpr std::size_t enough = 2000;
        const std::string log = servers_[i].log();
        return "node " + std::to_string(i) + " has ended by itself:\n" +
               log.substr(log.size() - std::min(log.size(), enough));
    }
    return std::nullopt;
}

}  // namespace redlock::chaos

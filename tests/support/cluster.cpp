// SPDX-License-Identifier: Apache-2.0
#include "support/cluster.hpp"

#include <cstddef>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "support/redis_server.hpp"

namespace redlock::test {

Cluster::Cluster(std::size_t count, const ServerOptions& options) {
    for (std::size_t i = 0; i < count; ++i) {
        nodes_.push_back(std::make_unique<RedisServer>(options, RedisServer::Launch::only));
    }
    for (auto& node : nodes_) node->wait_until_ready();
}

std::vector<std::string> Cluster::uris() const {
    std::vector<std::string> all;
    for (const auto& node : nodes_) all.push_back(node->uri());
    return all;
}

std::vector<std::string> Cluster::tcp_uris(const std::string& credentials) const {
    std::vector<std::string> all;
    for (const auto& node : nodes_) all.push_back(node->tcp_uri(credentials));
    return all;
}

std::vector<std::optional<std::string>> Cluster::values(const std::string& key) {
    std::vector<std::optional<std::string>> all;
    for (auto& node : nodes_) all.push_back(node->reachable() ? node->get(key) : std::nullopt);
    return all;
}

std::size_t Cluster::count_holding(const std::string& key) {
    std::size_t count = 0;
    for (const auto& value : values(key)) count += value.has_value() ? 1 : 0;
    return count;
}

std::vector<std::string> Cluster::keys_left() {
    std::vector<std::string> left;
    for (std::size_t i = 0; i < nodes_.size(); ++i) {
        if (!nodes_[i]->reachable()) continue;
        for (const auto& key : nodes_[i]->keys()) {
            if (!is_fence(key)) left.push_back("node " + std::to_string(i) + ": " + key);
        }
    }
    return left;
}

std::uint64_t Cluster::command_stat(const std::string& command) {
    std::uint64_t calls = 0;
    for (auto& node : nodes_) calls += node->reachable() ? node->command_stat(command) : 0;
    return calls;
}

void Cluster::kill_first(std::size_t count) {
    for (std::size_t i = 0; i < count; ++i) nodes_.at(i)->kill();
}

void Cluster::pause_first(std::size_t count) {
    for (std::size_t i = 0; i < count; ++i) nodes_.at(i)->pause();
}

void Cluster::resume_all() {
    for (auto& node : nodes_) node->resume();
}

void Cluster::restart_all(Data data) {
    for (auto& node : nodes_) node->begin_restart(data);
    for (auto& node : nodes_) node->wait_until_ready();
}

void Cluster::heal() {
    resume_all();
    for (auto& node : nodes_) {
        if (!node->running()) node->begin_restart(Data::keep);
    }
    for (auto& node : nodes_) node->wait_until_ready();
}

bool Cluster::is_fence(std::string_view key) {
    return key.ends_with(":redlock-fence") && key.find('{') != std::string_view::npos;
}

}  // namespace redlock::test

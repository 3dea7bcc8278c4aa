// SPDX-License-Identifier: Apache-2.0
// N independent servers, as Redlock wants them.
#pragma once

#include <cstddef>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "support/redis_server.hpp"

namespace redlock::test {

class Cluster {
   public:
    // Starts all processes first and then waits for all, so it takes about as long as one.
    explicit Cluster(std::size_t count, const ServerOptions& options = {}) {
        for (std::size_t i = 0; i < count; ++i) {
            nodes_.push_back(std::make_unique<RedisServer>(options, RedisServer::Launch::only));
        }
        for (auto& node : nodes_) node->wait_until_ready();
    }

    [[nodiscard]] std::size_t size() const noexcept { return nodes_.size(); }
    [[nodiscard]] RedisServer& operator[](std::size_t index) { return *nodes_.at(index); }
    [[nodiscard]] auto begin() noexcept { return Iterator{nodes_.begin()}; }
    [[nodiscard]] auto end() noexcept { return Iterator{nodes_.end()}; }

    [[nodiscard]] std::vector<std::string> uris() const {
        std::vector<std::string> all;
        for (const auto& node : nodes_) all.push_back(node->uri());
        return all;
    }
    // Needs ServerOptions::tcp.
    [[nodiscard]] std::vector<std::string> tcp_uris(const std::string& credentials = {}) const {
        std::vector<std::string> all;
        for (const auto& node : nodes_) all.push_back(node->tcp_uri(credentials));
        return all;
    }

    // --- looking inside: only nodes that run and are not paused ------------------------------------------

    // The value of `key` on each node; nothing where it is absent or the node cannot be asked.
    [[nodiscard]] std::vector<std::optional<std::string>> values(const std::string& key) {
        std::vector<std::optional<std::string>> all;
        for (auto& node : nodes_) all.push_back(node->reachable() ? node->get(key) : std::nullopt);
        return all;
    }
    // On how many nodes `key` exists.
    [[nodiscard]] std::size_t count_holding(const std::string& key) {
        std::size_t count = 0;
        for (const auto& value : values(key)) count += value.has_value() ? 1 : 0;
        return count;
    }
    // "node 2: orders/42" for each key on each node. Fencing counters ("{name}:redlock-fence") outlive locks
    // by design and are left out.
    [[nodiscard]] std::vector<std::string> keys_left() {
        std::vector<std::string> left;
        for (std::size_t i = 0; i < nodes_.size(); ++i) {
            if (!nodes_[i]->reachable()) continue;
            for (const auto& key : nodes_[i]->keys()) {
                if (!is_fence(key)) left.push_back("node " + std::to_string(i) + ": " + key);
            }
        }
        return left;
    }
    // Sum of RedisServer::command_stat().
    [[nodiscard]] std::uint64_t command_stat(const std::string& command) {
        std::uint64_t calls = 0;
        for (auto& node : nodes_) calls += node->reachable() ? node->command_stat(command) : 0;
        return calls;
    }

    // --- faults ----------------------------------------------------------------------------------------

    void kill_first(std::size_t count) {
        for (std::size_t i = 0; i < count; ++i) nodes_.at(i)->kill();
    }
    void pause_first(std::size_t count) {
        for (std::size_t i = 0; i < count; ++i) nodes_.at(i)->pause();
    }
    void resume_all() {
        for (auto& node : nodes_) node->resume();
    }
    // Restarts every node, those included that were killed or paused.
    void restart_all(Data data = Data::keep) {
        for (auto& node : nodes_) node->begin_restart(data);
        for (auto& node : nodes_) node->wait_until_ready();
    }
    // Resumes what is paused and restarts what is dead.
    void heal() {
        resume_all();
        for (auto& node : nodes_) {
            if (!node->running()) node->begin_restart(Data::keep);
        }
        for (auto& node : nodes_) node->wait_until_ready();
    }

   private:
    using Nodes = std::vector<std::unique_ptr<RedisServer>>;

    // Walks over the servers themselves, not over the pointers to them.
    struct Iterator {
        Nodes::iterator at;
        RedisServer& operator*() const { return **at; }
        Iterator& operator++() {
            ++at;
            return *this;
        }
        bool operator==(const Iterator&) const = default;
    };

    static bool is_fence(std::string_view key) {
        return key.ends_with(":redlock-fence") && key.find('{') != std::string_view::npos;
    }

    Nodes nodes_;
};

}  // namespace redlock::test

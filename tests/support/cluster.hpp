// SPDX-License-Identifier: Apache-2.0
// N independent servers: the nodes of a Redlock.
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
    explicit Cluster(std::size_t count, const ServerOptions& options = {});

    [[nodiscard]] std::size_t size() const noexcept { return nodes_.size(); }
    [[nodiscard]] RedisServer& operator[](std::size_t index) { return *nodes_.at(index); }
    [[nodiscard]] auto begin() noexcept { return Iterator{nodes_.begin()}; }
    [[nodiscard]] auto end() noexcept { return Iterator{nodes_.end()}; }

    [[nodiscard]] std::vector<std::string> uris() const;
    // Needs ServerOptions::tcp.
    [[nodiscard]] std::vector<std::string> tcp_uris(const std::string& credentials = {}) const;

    // --- inspection: only of nodes that run and are not paused -------------------------------------------

    // The value of `key` on each node; nothing where it is absent or the node cannot be asked.
    [[nodiscard]] std::vector<std::optional<std::string>> values(const std::string& key);
    // On how many nodes `key` exists.
    [[nodiscard]] std::size_t count_holding(const std::string& key);
    // "node 2: orders/42" for each key on each node. Fencing counters ("{name}:redlock-fence") outlive locks
    // by design and are left out.
    [[nodiscard]] std::vector<std::string> keys_left();
    // Sum of RedisServer::command_stat().
    [[nodiscard]] std::uint64_t command_stat(const std::string& command);

    // --- faults ----------------------------------------------------------------------------------------

    void kill_first(std::size_t count);
    void pause_first(std::size_t count);
    void resume_all();
    // Restarts every node, including those that were killed or paused.
    void restart_all(Data data = Data::keep);
    // Resumes paused nodes and restarts dead ones.
    void heal();

   private:
    using Nodes = std::vector<std::unique_ptr<RedisServer>>;

    // Iterates over the servers themselves, not over the pointers to them.
    struct Iterator {
        Nodes::iterator at;
        RedisServer& operator*() const { return **at; }
        Iterator& operator++() {
            ++at;
            return *this;
        }
        bool operator==(const Iterator&) const = default;
    };

    static bool is_fence(std::string_view key);

    Nodes nodes_;
};

}  // namespace redlock::test

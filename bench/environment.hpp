// SPDX-License-Identifier: Apache-2.0
// The nodes that all benchmarks share, near (unix sockets, 127.0.0.1) and far (through the delaying proxy).
#pragma once

#include <atomic>
#include <chrono>
#include <cstddef>
#include <memory>
#include <string>
#include <vector>

#include "support/cluster.hpp"
#include "support/delay_proxy.hpp"

namespace redlock::bench {

// How the nodes are reached, which sets their distance.
enum class Path { unix_socket, tcp, delayed };

[[nodiscard]] inline const char* name_of(Path path) {
    switch (path) {
        case Path::unix_socket: return "unix";
        case Path::tcp: return "tcp";
        case Path::delayed: break;
    }
    return "delayed";
}

class Environment {
   public:
    static constexpr std::size_t node_count = 9;
    static constexpr std::chrono::microseconds each_way{800};

    // Started by the first benchmark that runs, so that listing them starts nothing.
    static Environment& instance() {
        auto& environment = slot();
        if (!environment) environment.reset(new Environment);
        return *environment;
    }
    static void shut_down() { slot().reset(); }

    [[nodiscard]] std::vector<std::string> uris(Path path, std::size_t count) {
        auto all = path == Path::delayed ? proxy_.uris()
                   : path == Path::tcp   ? cluster_.tcp_uris()
                                         : cluster_.uris();
        all.resize(count);
        return all;
    }
    [[nodiscard]] test::Cluster& cluster() noexcept { return cluster_; }

    // A name that no earlier run has used, so that keys which an earlier run left do not disturb this one.
    [[nodiscard]] static std::string fresh_resource() {
        static std::atomic<unsigned> serial{0};
        return "bench/" + std::to_string(serial++);
    }

   private:
    Environment() : cluster_(node_count, options()), proxy_(cluster_.uris(), each_way) {}

    static test::ServerOptions options() {
        test::ServerOptions options;
        options.tcp = true;
        return options;
    }
    static std::unique_ptr<Environment>& slot() {
        static std::unique_ptr<Environment> environment;
        return environment;
    }

    test::Cluster cluster_;
    test::DelayProxy proxy_;
};

// Stops the first nodes (SIGSTOP) during its lifetime. These are the worst case for a client that asks the
// nodes in order.
class HungNodes {
   public:
    explicit HungNodes(std::size_t count) { Environment::instance().cluster().pause_first(count); }
    HungNodes(const HungNodes&) = delete;
    HungNodes& operator=(const HungNodes&) = delete;
    ~HungNodes() { Environment::instance().cluster().heal(); }
};

}  // namespace redlock::bench

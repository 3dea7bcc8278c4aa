// SPDX-License-Identifier: Apache-2.0
// A real redis-server (or valkey-server) that belongs to the test, on a unix socket in a temporary directory.
// It is stopped by pid.
#pragma once

#include <chrono>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <mutex>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

#include "support/child_process.hpp"
#include "support/eventually.hpp"
#include "support/posix.hpp"
#include "support/redis_client.hpp"
#include "support/socket.hpp"

namespace redlock::test {

struct ServerOptions {
    bool tcp = false;                      // also listen on a free port of 127.0.0.1
    bool append_only = false;              // AOF with appendfsync always: data outlives kill()
    std::string password{};                // requirepass; empty: none
    std::vector<std::string> users{};      // ACL users: "alice on >secret ~* +@all"
    std::vector<std::string> arguments{};  // more of the command line: {"--maxmemory", "1mb"}
    std::chrono::milliseconds start_timeout{20'000};
};

enum class Data { keep, discard };

// The server program: $REDIS_SERVER, else redis-server, else valkey-server.
[[nodiscard]] inline std::string server_program() {
    if (const char* chosen = std::getenv("REDIS_SERVER"); chosen != nullptr && *chosen != '\0') {
        if (auto found = find_executable(chosen)) return *found;
        throw std::runtime_error(std::string{"REDIS_SERVER is not a program: "} + chosen);
    }
    for (const char* name : {"redis-server", "valkey-server"}) {
        if (auto found = find_executable(name)) return *found;
    }
    throw std::runtime_error("no redis-server and no valkey-server in PATH; set REDIS_SERVER");
}

class RedisServer {
   public:
    enum class Launch { and_wait, only };

    // Launch::only returns at once; the server may be used after wait_until_ready().
    explicit RedisServer(ServerOptions options = {}, Launch launch = Launch::and_wait);
    RedisServer(const RedisServer&) = delete;
    RedisServer& operator=(const RedisServer&) = delete;
    ~RedisServer() = default;  // the process is killed and reaped, then the directory is removed

    // --- addresses -------------------------------------------------------------------------------------

    [[nodiscard]] std::string socket_path() const { return directory_.file("redis.sock"); }
    [[nodiscard]] std::string uri() const { return "unix://" + socket_path(); }
    [[nodiscard]] std::uint16_t port() const;
    // "redis://127.0.0.1:port"; `credentials` as in "alice:secret" come before the host.
    [[nodiscard]] std::string tcp_uri(const std::string& credentials = {}) const;
    [[nodiscard]] std::string log() const;

    // --- the process -----------------------------------------------------------------------------------

    [[nodiscard]] pid_t pid() const { return process_.pid(); }
    [[nodiscard]] bool running() { return process_.running(); }
    [[nodiscard]] bool paused() const { return process_.stopped(); }
    [[nodiscard]] bool reachable() { return running() && !paused(); }

    // SIGKILL; returns when it is gone. restart() brings it back.
    void kill();
    // SIGTERM: an orderly shutdown.
    void terminate();
    // SIGSTOP: it hangs, its connections stay open. Returns when it really is stopped.
    void pause() { process_.stop(); }
    void resume() { process_.resume(); }

    // Kills it if it runs and starts it again at the same addresses. Only persisted data is kept.
    void restart(Data data = Data::keep);
    // The first half of restart(), for doing several at a time.
    void begin_restart(Data data);
    // Waits until it answers PING. Throws, with its log, if it has ended or is not ready in time.
    void wait_until_ready();

    // --- inspection (blocking; throws ClientError after two seconds without a reply) ---------------------

    Reply query(const std::vector<std::string>& arguments) { return client_.query(arguments); }

    [[nodiscard]] std::optional<std::string> get(const std::string& key);
    // Nothing if there is no such key; milliseconds::max() if it never expires.
    [[nodiscard]] std::optional<std::chrono::milliseconds> pttl(const std::string& key);
    // All keys of database 0 that have not expired, sorted. (DBSIZE would count expired ones as well.)
    [[nodiscard]] std::vector<std::string> keys();
    // How many times `command` ("set", "client|kill") has run, from INFO commandstats.
    [[nodiscard]] std::uint64_t command_stat(const std::string& command);
    // The version of Redis. A Valkey server reports the Redis version that it is compatible with.
    [[nodiscard]] int major_version() { return std::stoi(info("server", "redis_version")); }
    // One field of INFO: info("server", "run_id").
    [[nodiscard]] std::string info(const std::string& section, const std::string& field);

   private:
    // Inspection works whatever the test does to the default user: it has a user of its own.
    static constexpr const char* inspector = "test-inspector";

    static RedisClient::Options client_options(const ServerOptions& options,
                                               std::chrono::milliseconds timeout);

    void start();

    void write_configuration() const;

    bool answers_ping();

    // Whether the latest start failed because another process had the TCP port.
    [[nodiscard]] bool port_was_taken() const;

    // The rest of the line "name:..." in a section of INFO.
    std::optional<std::string> info_line(const std::string& section, const std::string& name);

    ServerOptions options_;
    TemporaryDirectory directory_;
    std::uint16_t port_ = 0;
    std::size_t log_mark_ = 0;   // where the log of the latest start begins
    bool started_once_ = false;  // then its addresses are known to others and stay
    ChildProcess process_;
    RedisClient client_;
};

}  // namespace redlock::test

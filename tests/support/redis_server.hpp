// SPDX-License-Identifier: Apache-2.0
// A real redis-server (or valkey-server) of the test's own: on a unix socket in a temporary directory, ended
// by pid.
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
    explicit RedisServer(ServerOptions options = {}, Launch launch = Launch::and_wait)
        : options_(std::move(options)),
          client_(Address::unix_path(socket_path()),
                  client_options(options_, std::chrono::milliseconds{2000})) {
        if (options_.tcp) port_ = free_port();
        start();
        if (launch == Launch::and_wait) wait_until_ready();
    }
    RedisServer(const RedisServer&) = delete;
    RedisServer& operator=(const RedisServer&) = delete;
    ~RedisServer() = default;  // the process is killed and reaped, then the directory is removed

    // --- where it is -----------------------------------------------------------------------------------

    [[nodiscard]] std::string socket_path() const { return directory_.file("redis.sock"); }
    [[nodiscard]] std::string uri() const { return "unix://" + socket_path(); }
    [[nodiscard]] std::uint16_t port() const {
        if (port_ == 0) throw std::logic_error("this server was started without ServerOptions::tcp");
        return port_;
    }
    // "redis://127.0.0.1:port"; `credentials` as in "alice:secret" come before the host.
    [[nodiscard]] std::string tcp_uri(const std::string& credentials = {}) const {
        return "redis://" + (credentials.empty() ? "" : credentials + "@") +
               "127.0.0.1:" + std::to_string(port());
    }
    [[nodiscard]] std::string log() const {
        std::ifstream file{directory_.file("redis.log")};
        return {std::istreambuf_iterator<char>{file}, {}};
    }

    // --- the process -----------------------------------------------------------------------------------

    [[nodiscard]] pid_t pid() const { return process_.pid(); }
    [[nodiscard]] bool running() { return process_.running(); }
    [[nodiscard]] bool paused() const { return process_.stopped(); }
    [[nodiscard]] bool reachable() { return running() && !paused(); }

    // SIGKILL; returns when it is gone. restart() brings it back.
    void kill() {
        process_.kill();
        client_.disconnect();
    }
    // SIGTERM, the orderly end.
    void terminate() {
        process_.terminate(std::chrono::seconds{10});
        client_.disconnect();
    }
    // SIGSTOP: it hangs, its connections stay open. Returns when it really is stopped.
    void pause() { process_.stop(); }
    void resume() { process_.resume(); }

    // Kills it if it runs and starts it again at the same addresses. What is kept is what was persisted.
    void restart(Data data = Data::keep) {
        begin_restart(data);
        wait_until_ready();
    }
    // The first half of restart(), for doing several at a time.
    void begin_restart(Data data) {
        kill();
        if (data == Data::discard) directory_.clear();
        start();
    }
    // Waits until it answers PING. Throws, with its log, if it has ended or is not ready in time.
    void wait_until_ready() {
        const bool decided = eventually(options_.start_timeout, [this] {
            if (process_.running()) return answers_ping();
            if (!port_was_taken()) throw std::runtime_error("redis-server ended at its start:\n" + log());
            if (!started_once_) port_ = free_port();
            start();
            return false;
        });
        if (!decided) throw std::runtime_error("redis-server is not ready in time:\n" + log());
        started_once_ = true;
    }

    // --- looking inside (blocking; throws ClientError after two seconds of silence) ----------------------

    Reply query(const std::vector<std::string>& arguments) { return client_.query(arguments); }

    [[nodiscard]] std::optional<std::string> get(const std::string& key) {
        return query({"GET", key}).optional_text();
    }
    // Nothing if there is no such key; milliseconds::max() if it never expires.
    [[nodiscard]] std::optional<std::chrono::milliseconds> pttl(const std::string& key) {
        const auto left = query({"PTTL", key}).number();
        if (left == -2) return std::nullopt;
        return left == -1 ? std::chrono::milliseconds::max() : std::chrono::milliseconds{left};
    }
    // All keys of database 0 that have not expired, sorted. (DBSIZE would count expired ones as well.)
    [[nodiscard]] std::vector<std::string> keys() {
        std::vector<std::string> names;
        for (auto& element : query({"KEYS", "*"}).elements) names.push_back(std::move(element.text));
        std::sort(names.begin(), names.end());
        return names;
    }
    // How many times `command` ("set", "client|kill") has run, from INFO commandstats.
    [[nodiscard]] std::uint64_t command_stat(const std::string& command) {
        const auto line = info_line("commandstats", "cmdstat_" + command);
        constexpr std::string_view calls = "calls=";
        return line ? std::stoull(line->substr(line->find(calls) + calls.size())) : 0;
    }
    // Of Redis; a Valkey names the Redis that it is compatible with.
    [[nodiscard]] int major_version() { return std::stoi(info("server", "redis_version")); }
    // One field of INFO: info("server", "run_id").
    [[nodiscard]] std::string info(const std::string& section, const std::string& field) {
        return info_line(section, field).value_or("");
    }

   private:
    // Inspection works whatever the test does to the default user: it has a user of its own.
    static constexpr const char* inspector = "test-inspector";

    static RedisClient::Options client_options(const ServerOptions& options,
                                               std::chrono::milliseconds timeout) {
        const bool guarded = !options.password.empty() || !options.users.empty();
        return {guarded ? inspector : "", "any", timeout};
    }

    void start() {
        write_configuration();
        Command command{{server_program(), directory_.file("redis.conf")},
                        directory_.path().string(),
                        directory_.file("redis.log")};
        const auto& extra = options_.arguments;
        command.arguments.insert(command.arguments.end(), extra.begin(), extra.end());
        log_mark_ = log().size();
        process_.start(command);
    }

    void write_configuration() const {
        std::ofstream file{directory_.file("redis.conf"), std::ios::trunc};
        file << "daemonize no\nbind 127.0.0.1\nport " << port_ << "\nunixsocket " << socket_path() << "\ndir "
             << directory_.path().string() << "\nsave \"\"\n"
             << "appendonly " << (options_.append_only ? "yes\nappendfsync always\n" : "no\n");
        if (!options_.password.empty()) file << "requirepass \"" << options_.password << "\"\n";
        for (const auto& user : options_.users) file << "user " << user << '\n';
        if (!client_options(options_, {}).user.empty()) {
            file << "user " << inspector << " on nopass ~* +@all\n";
        }
        if (!file.flush()) throw std::runtime_error("cannot write redis.conf");
    }

    bool answers_ping() {
        try {
            RedisClient probe{Address::unix_path(socket_path()),
                              client_options(options_, std::chrono::milliseconds{500})};
            return probe.query({"PING"}).text == "PONG";
        } catch (const ClientError&) {
            return false;
        }
    }

    // Did the latest start fail because somebody else had the TCP port?
    [[nodiscard]] bool port_was_taken() const {
        return port_ != 0 && log().find("in use", log_mark_) != std::string::npos;
    }

    // The rest of the line "name:..." in a section of INFO.
    std::optional<std::string> info_line(const std::string& section, const std::string& name) {
        const auto text = "\n" + query({"INFO", section}).text;
        const auto start = text.find("\n" + name + ":");
        if (start == std::string::npos) return std::nullopt;
        const auto value = start + name.size() + 2;
        return text.substr(value, text.find('\r', value) - value);
    }

    ServerOptions options_;
    TemporaryDirectory directory_;
    std::uint16_t port_ = 0;
    std::size_t log_mark_ = 0;   // where the log of the latest start begins
    bool started_once_ = false;  // then its addresses are known to others and stay
    ChildProcess process_;
    RedisClient client_;
};

}  // namespace redlock::test

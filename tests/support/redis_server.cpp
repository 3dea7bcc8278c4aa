// SPDX-License-Identifier: Apache-2.0
#include "support/redis_server.hpp"

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

RedisServer::RedisServer(ServerOptions options, Launch launch)
    : options_(std::move(options)),
      client_(Address::unix_path(socket_path()), client_options(options_, std::chrono::milliseconds{2000})) {
    if (options_.tcp) port_ = free_port();
    start();
    if (launch == Launch::and_wait) wait_until_ready();
}

std::uint16_t RedisServer::port() const {
    if (port_ == 0) throw std::logic_error("this server was started without ServerOptions::tcp");
    return port_;
}

std::string RedisServer::tcp_uri(const std::string& credentials) const {
    return "redis://" + (credentials.empty() ? "" : credentials + "@") +
           "127.0.0.1:" + std::to_string(port());
}

std::string RedisServer::log() const {
    std::ifstream file{directory_.file("redis.log")};
    return {std::istreambuf_iterator<char>{file}, {}};
}

void RedisServer::kill() {
    process_.kill();
    client_.disconnect();
}

void RedisServer::terminate() {
    process_.terminate(std::chrono::seconds{10});
    client_.disconnect();
}

void RedisServer::restart(Data data) {
    begin_restart(data);
    wait_until_ready();
}

void RedisServer::begin_restart(Data data) {
    kill();
    if (data == Data::discard) directory_.clear();
    start();
}

void RedisServer::wait_until_ready() {
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

std::optional<std::string> RedisServer::get(const std::string& key) {
    return query({"GET", key}).optional_text();
}

std::optional<std::chrono::milliseconds> RedisServer::pttl(const std::string& key) {
    const auto left = query({"PTTL", key}).number();
    if (left == -2) return std::nullopt;
    return left == -1 ? std::chrono::milliseconds::max() : std::chrono::milliseconds{left};
}

std::vector<std::string> RedisServer::keys() {
    std::vector<std::string> names;
    for (auto& element : query({"KEYS", "*"}).elements) names.push_back(std::move(element.text));
    std::sort(names.begin(), names.end());
    return names;
}

std::uint64_t RedisServer::command_stat(const std::string& command) {
    const auto line = info_line("commandstats", "cmdstat_" + command);
    constexpr std::string_view calls = "calls=";
    return line ? std::stoull(line->substr(line->find(calls) + calls.size())) : 0;
}

std::string RedisServer::info(const std::string& section, const std::string& field) {
    return info_line(section, field).value_or("");
}

RedisClient::Options RedisServer::client_options(const ServerOptions& options,
                                                 std::chrono::milliseconds timeout) {
    const bool guarded = !options.password.empty() || !options.users.empty();
    return {guarded ? inspector : "", "any", timeout};
}

void RedisServer::start() {
    write_configuration();
    Command command{{server_program(), directory_.file("redis.conf")},
                    directory_.path().string(),
                    directory_.file("redis.log")};
    const auto& extra = options_.arguments;
    command.arguments.insert(command.arguments.end(), extra.begin(), extra.end());
    log_mark_ = log().size();
    process_.start(command);
}

void RedisServer::write_configuration() const {
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

bool RedisServer::answers_ping() {
    try {
        RedisClient probe{Address::unix_path(socket_path()),
                          client_options(options_, std::chrono::milliseconds{500})};
        return probe.query({"PING"}).text == "PONG";
    } catch (const ClientError&) {
        return false;
    }
}

bool RedisServer::port_was_taken() const {
    return port_ != 0 && log().find("in use", log_mark_) != std::string::npos;
}

std::optional<std::string> RedisServer::info_line(const std::string& section, const std::string& name) {
    const auto text = "\n" + query({"INFO", section}).text;
    const auto start = text.find("\n" + name + ":");
    if (start == std::string::npos) return std::nullopt;
    const auto value = start + name.size() + 2;
    return text.substr(value, text.find('\r', value) - value);
}

}  // namespace redlock::test

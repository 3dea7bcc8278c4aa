// SPDX-License-Identifier: Apache-2.0
// Nodes that misbehave: they are silent, close connections, send invalid bytes or cannot be reached. Or they
// answer as a test's script says.
#pragma once

#include <poll.h>
#include <sys/socket.h>

#include <atomic>
#include <charconv>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <list>
#include <map>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include "support/posix.hpp"
#include "support/socket.hpp"

namespace redlock::test {

// A request as the server sees it: {"SET", "name", "token", "NX", "PX", "10000"}.
using Request = std::vector<std::string>;

// What a scripted node does with a request. Empty bytes: it sends no reply.
struct Answer {
    std::string bytes;
    bool then_close = false;

    Answer() = default;
    Answer(std::string reply, bool close = false) : bytes(std::move(reply)), then_close(close) {}  // NOLINT
    Answer(const char* reply) : bytes(reply) {}                                                    // NOLINT
};

inline std::string bulk(const std::string& text) {
    return "$" + std::to_string(text.size()) + "\r\n" + text + "\r\n";
}

// Cuts a byte stream into requests (RESP arrays of bulk strings).
class RequestParser {
   public:
    void feed(std::string_view bytes) { buffer_ += bytes; }

    // The next complete request. Sets broken() where the bytes are no request.
    std::optional<Request> next();
    [[nodiscard]] bool broken() const noexcept { return broken_; }

   private:
    // Reads "<mark><number>\r\n" and moves past it.
    std::optional<long> header(std::size_t& at, char mark);

    std::string buffer_;
    bool broken_ = false;
};

// A listener with a thread of its own, ended by the destructor. The callbacks run on that thread.
class FakeNode {
   public:
    struct Behaviour {
        bool close_at_once = false;                          // accept, say the greeting, then close
        std::string greeting{};                              // what it says unasked to whoever connects
        std::function<Answer(std::string_view)> on_bytes{};  // for each piece that arrives
        std::function<Answer(const Request&)> on_request{};  // for each whole request
        // The same with the number of the connection, from 1; one or the other.
        std::function<Answer(const Request&, std::size_t)> on_numbered_request{};
    };

    explicit FakeNode(Behaviour behaviour, Family family = Family::unix_socket)
        : FakeNode(std::move(behaviour), family == Family::tcp ? Address::loopback(0) : Address{}) {}
    // For a unix address without a path, it creates the socket in a directory of its own.
    FakeNode(Behaviour behaviour, const Address& address);
    FakeNode(const FakeNode&) = delete;
    FakeNode& operator=(const FakeNode&) = delete;
    ~FakeNode();

    [[nodiscard]] std::string uri() const { return address_.uri(); }
    [[nodiscard]] std::uint16_t port() const { return address_.port; }

    // Connections accepted so far.
    [[nodiscard]] std::size_t accepted() const noexcept { return accepted_; }
    // Connections open now.
    [[nodiscard]] std::size_t connections() const noexcept { return open_; }
    // Bytes received so far.
    [[nodiscard]] std::size_t bytes_received() const noexcept { return bytes_received_; }
    // The requests so far, in order of arrival (only with on_request).
    [[nodiscard]] std::vector<Request> requests() const;
    // How many of them began with this word.
    [[nodiscard]] std::size_t count(std::string_view command) const;

    // Sends bytes to every open connection, unasked: a late reply, or one too many.
    void push(const std::string& bytes);
    // Closes every open connection; new ones are still accepted.
    void close_connections();

   private:
    struct Connection {
        FileDescriptor fd;
        RequestParser parser;
        std::size_t number = 0;
    };

    void run();

    // What the test has requested since the last turn of the loop.
    void obey();

    void serve(const std::vector<pollfd>& watched);

    void accept_all();

    void receive(Connection& connection);

    void remember(const Request& request);

    static void act(Connection& connection, const Answer& answer);

    // A peer that does not read gets its connection closed: the node must never block.
    static void say(Connection& connection, std::string_view bytes);

    Behaviour behaviour_;
    TemporaryDirectory directory_;
    Address address_;
    FileDescriptor listener_;
    WakeUp wake_;
    std::atomic<bool> stopping_{false};
    std::atomic<std::size_t> accepted_{0};
    std::atomic<std::size_t> open_{0};
    std::atomic<std::size_t> bytes_received_{0};
    std::list<Connection> connections_;  // the node's thread only
    mutable std::mutex mutex_;           // guards what follows
    std::vector<Request> requests_;
    std::string pushed_;
    bool closing_ = false;
    std::thread thread_;
};

// Accepts, reads, says nothing.
[[nodiscard]] inline FakeNode silent_node(Family family = Family::unix_socket) {
    return FakeNode{{}, family};
}

// Accepts and closes.
[[nodiscard]] inline FakeNode closing_node(Family family = Family::unix_socket) {
    FakeNode::Behaviour behaviour;
    behaviour.close_at_once = true;
    return FakeNode{std::move(behaviour), family};
}

// Answers whatever it gets with bytes that are not RESP.
[[nodiscard]] inline FakeNode rubbish_node(Family family = Family::unix_socket,
                                           std::string rubbish = "HTTP/1.1 400 Bad Request\r\n\r\n") {
    FakeNode::Behaviour behaviour;
    behaviour.on_bytes = [rubbish = std::move(rubbish)](std::string_view) { return Answer{rubbish}; };
    return FakeNode{std::move(behaviour), family};
}

// Answers every request as `script` says.
[[nodiscard]] inline FakeNode scripted_node(std::function<Answer(const Request&)> script,
                                            Family family = Family::unix_socket) {
    FakeNode::Behaviour behaviour;
    behaviour.on_request = std::move(script);
    return FakeNode{std::move(behaviour), family};
}

// The replies of a correct master with no keys: OK to a SET, 1 to a script, valid replies to a login.
[[nodiscard]] inline Answer agreeable_answer(const Request& request) {
    const auto word = [&](std::size_t index) {
        return index < request.size() ? request[index] : std::string{};
    };
    if (word(0) == "PING") return "+PONG\r\n";
    if (word(0) == "CLIENT" && word(1) == "ID") return ":7\r\n";
    if (word(0) == "CLIENT" && word(1) == "KILL") return ":0\r\n";
    if (word(0) == "EVALSHA" || word(0) == "EVAL" || word(0) == "EXISTS") return ":1\r\n";
    if (word(0) == "GET") return "$-1\r\n";
    if (word(0) == "SCRIPT" && word(1) == "LOAD") return bulk(std::string(40, 'a'));
    if (word(0) == "ROLE") return "*3\r\n$6\r\nmaster\r\n:0\r\n*0\r\n";
    if (word(0) == "HELLO") return "-ERR unknown command 'HELLO'\r\n";
    if (word(0) == "SUBSCRIBE") return "*3\r\n$9\r\nsubscribe\r\n" + bulk(word(1)) + ":1\r\n";
    if (word(0) == "INFO") {
        return bulk("# Server\r\nredis_version:7.0.15\r\nrun_id:" + std::string(40, 'f') +
                    "\r\nuptime_in_seconds:86400\r\n# Replication\r\nrole:master\r\n");
    }
    return "+OK\r\n";
}

// A correct master, except for requests that start with a key of `exceptions`: {{"SET", "-READONLY no\r\n"}}.
[[nodiscard]] inline FakeNode agreeable_node(std::map<std::string, std::string> exceptions = {},
                                             Family family = Family::unix_socket) {
    return scripted_node(
        [exceptions = std::move(exceptions)](const Request& request) {
            const auto found = request.empty() ? exceptions.end() : exceptions.find(request[0]);
            return found != exceptions.end() ? Answer{found->second} : agreeable_answer(request);
        },
        family);
}

// A TCP address that refuses connections: the port is ours for the life of the process, and nobody listens
// on it.
[[nodiscard]] inline std::string dead_tcp_uri() {
    static const FileDescriptor bound = bind_socket(Address::loopback(0));
    return Address::loopback(local_port(bound.get())).uri();
}

// A unix address without a socket.
[[nodiscard]] inline std::string dead_unix_uri() { return "unix:///nonexistent/redlock/redis.sock"; }

// A TCP address where connecting neither succeeds nor fails: the accept queue is full and nobody accepts.
class UnansweringPort {
   public:
    UnansweringPort();
    [[nodiscard]] std::string uri() const { return address().uri(); }

   private:
    [[nodiscard]] Address address() const { return Address::loopback(local_port(listener_.get())); }

    FileDescriptor listener_;
    std::vector<FileDescriptor> fillers_;
};

}  // namespace redlock::test

// SPDX-License-Identifier: Apache-2.0
#include "support/fake_node.hpp"

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

std::optional<Request> RequestParser::next() {
    std::size_t at = 0;
    const auto count = header(at, '*');
    if (!count) return std::nullopt;
    Request request;
    for (long i = 0; i < *count; ++i) {
        const auto size = header(at, '$');
        if (!size) return std::nullopt;
        const auto length = static_cast<std::size_t>(*size);
        if (buffer_.size() < at + length + 2) return std::nullopt;
        request.push_back(buffer_.substr(at, length));
        at += length + 2;
    }
    buffer_.erase(0, at);
    return request;
}

std::optional<long> RequestParser::header(std::size_t& at, char mark) {
    const auto end = buffer_.find("\r\n", at);
    if (end == std::string::npos) return std::nullopt;
    long number = -1;
    const char* first = buffer_.data() + at + 1;
    const char* last = buffer_.data() + end;
    const bool marked = buffer_[at] == mark && std::from_chars(first, last, number).ptr == last;
    if (!marked || number < 0) {
        broken_ = true;
        return std::nullopt;
    }
    at = end + 2;
    return number;
}

FakeNode::FakeNode(Behaviour behaviour, const Address& address)
    : behaviour_(std::move(behaviour)), address_(address) {
    if (address_.family == Family::unix_socket && address_.path.empty()) {
        address_.path = directory_.file("node.sock");
    }
    listener_ = listen_on(address_);
    if (address_.family == Family::tcp) address_.port = local_port(listener_.get());
    thread_ = std::thread{[this] { run(); }};
}

FakeNode::~FakeNode() {
    stopping_ = true;
    wake_.notify();
    thread_.join();
}

std::vector<Request> FakeNode::requests() const {
    const std::lock_guard lock{mutex_};
    return requests_;
}

std::size_t FakeNode::count(std::string_view command) const {
    const std::lock_guard lock{mutex_};
    std::size_t found = 0;
    for (const auto& request : requests_) found += !request.empty() && request[0] == command ? 1 : 0;
    return found;
}

void FakeNode::push(const std::string& bytes) {
    const std::lock_guard lock{mutex_};
    pushed_ += bytes;
    wake_.notify();
}

void FakeNode::close_connections() {
    const std::lock_guard lock{mutex_};
    closing_ = true;
    wake_.notify();
}

void FakeNode::run() {
    while (!stopping_) {
        std::vector<pollfd> watched{{wake_.fd(), POLLIN, 0}, {listener_.get(), POLLIN, 0}};
        for (const auto& connection : connections_) watched.push_back({connection.fd.get(), POLLIN, 0});
        if (::poll(watched.data(), watched.size(), -1) < 0) continue;
        obey();
        serve(watched);
        if ((watched[1].revents & POLLIN) != 0) accept_all();
        open_ = connections_.size();
    }
}

void FakeNode::obey() {
    wake_.drain();
    const std::lock_guard lock{mutex_};
    for (auto& connection : connections_) {
        if (!pushed_.empty()) say(connection, pushed_);
        if (closing_) connection.fd.reset();
    }
    pushed_.clear();
    closing_ = false;
}

void FakeNode::serve(const std::vector<pollfd>& watched) {
    std::size_t index = 2;
    for (auto& connection : connections_) {
        if (watched[index++].revents != 0 && connection.fd) receive(connection);
    }
    connections_.remove_if([](const Connection& connection) { return !connection.fd; });
}

void FakeNode::accept_all() {
    for (;;) {
        FileDescriptor fd{::accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK)};
        if (!fd) return;
        ++accepted_;
        Connection connection{std::move(fd), {}, accepted_};
        say(connection, behaviour_.greeting);
        if (!behaviour_.close_at_once) connections_.push_back(std::move(connection));
    }
}

void FakeNode::receive(Connection& connection) {
    char bytes[16 * 1024];
    const auto got = ::recv(connection.fd.get(), bytes, sizeof bytes, 0);
    if (got < 0 && (errno == EAGAIN || errno == EINTR)) return;
    if (got <= 0) return connection.fd.reset();
    const std::string_view piece{bytes, static_cast<std::size_t>(got)};
    bytes_received_ += piece.size();
    if (behaviour_.on_bytes) act(connection, behaviour_.on_bytes(piece));
    if (!behaviour_.on_request && !behaviour_.on_numbered_request) return;
    connection.parser.feed(piece);
    while (connection.fd) {
        const auto request = connection.parser.next();
        if (!request) break;
        remember(*request);
        act(connection, behaviour_.on_request ? behaviour_.on_request(*request)
                                              : behaviour_.on_numbered_request(*request, connection.number));
    }
    if (connection.parser.broken()) connection.fd.reset();
}

void FakeNode::remember(const Request& request) {
    const std::lock_guard lock{mutex_};
    requests_.push_back(request);
}

void FakeNode::act(Connection& connection, const Answer& answer) {
    say(connection, answer.bytes);
    if (answer.then_close) connection.fd.reset();
}

void FakeNode::say(Connection& connection, std::string_view bytes) {
    if (bytes.empty() || !connection.fd) return;
    const auto sent = ::send(connection.fd.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
    if (sent != static_cast<ssize_t>(bytes.size())) connection.fd.reset();
}

UnansweringPort::UnansweringPort() : listener_(listen_on(Address::loopback(0), 0)) {
    constexpr int more_than_the_queue = 4;
    for (int i = 0; i < more_than_the_queue; ++i) fillers_.push_back(connect_to(address()));
}

}  // namespace redlock::test

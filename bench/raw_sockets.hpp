// SPDX-License-Identifier: Apache-2.0
// The lower bound: the cost of lock and unlock with sockets alone. The library's own bytes go to all nodes on
// plain non-blocking sockets, one poll waits, and the round ends when a quorum has granted. The next round
// reads late replies. There is no deadline, no error handling, no bookkeeping and no new token per cycle, so
// this is no usable client.
#pragma once

#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

#include "redlock/voting/command.hpp"
#include "support/socket.hpp"

namespace redlock::bench {

enum class Mode { plain, fenced };

// The requests of one lock+unlock cycle, byte for byte what the library sends.
struct CycleBytes {
    std::string lock;
    std::string unlock;

    static CycleBytes of(const std::string& resource, Mode mode) {
        using namespace std::chrono_literals;
        detail::Claim claim{{resource}, {}, {detail::queue_key(resource)}};
        std::vector<std::int64_t> proposals;
        if (mode == Mode::fenced) {
            const auto now = std::chrono::system_clock::now().time_since_epoch();
            claim.counters.push_back(detail::fence_key(resource));
            proposals.push_back(std::chrono::duration_cast<std::chrono::microseconds>(now).count());
        }
        const auto token = Token::parse("0123456789abcdef0123456789abcdef01234567");
        return {detail::acquire_command(claim, token, 10s, 24h, proposals).bytes(),
                detail::release_command(claim, token).bytes()};
    }
};

// The length of the first complete reply in `bytes`; 0 if there is none.
[[nodiscard]] inline std::size_t reply_length(std::string_view bytes) {
    const auto line_end = bytes.find("\r\n");
    if (line_end == std::string_view::npos) return 0;
    std::size_t length = line_end + 2;
    if (bytes[0] != '$' && bytes[0] != '*') return length;
    long count = 0;
    std::from_chars(bytes.data() + 1, bytes.data() + line_end, count);
    if (count < 0) return length;
    if (bytes[0] == '$') {
        length += static_cast<std::size_t>(count) + 2;
        return length <= bytes.size() ? length : 0;
    }
    for (long i = 0; i < count; ++i) {
        const auto element = reply_length(bytes.substr(length));
        if (element == 0) return 0;
        length += element;
    }
    return length;
}

// Whether it is +OK of a SET, 1 of a script, or {1, …} of the acquire script.
[[nodiscard]] inline bool is_yes(std::string_view reply) {
    if (reply.starts_with('*')) reply.remove_prefix(reply.find('\n') + 1);
    return reply.starts_with("+OK") || reply.starts_with(":1\r");
}

// One connection to each node.
class RawNodes {
   public:
    explicit RawNodes(const std::vector<std::string>& uris) : quorum_(uris.size() / 2 + 1) {
        for (const auto& uri : uris) {
            nodes_.emplace_back(test::connect_to(test::Address::parse(uri)));
            if (!nodes_.back().fd) throw std::runtime_error("cannot connect to " + uri);
            watched_.push_back({nodes_.back().fd.get(), POLLIN, 0});
        }
        load(detail::fenced_acquire_script);
        load(detail::release_script);
    }

    // Sends `bytes`, which hold `count` requests, to all nodes. Returns when a quorum has granted them all.
    void round(std::string_view bytes, std::size_t count = 1) {
        for (auto& node : nodes_) send(node, bytes, count);
        while (agreeing(count) < quorum_) receive(patience_ms);
    }

    // Waits until no node is more than `behind_max` requests behind. Otherwise the slower nodes could fall
    // behind for ever, and the bound would be that of a smaller cluster.
    void settle(std::size_t behind_max) {
        const auto is_behind = [=](const Node& node) { return node.sent - node.answered > behind_max; };
        while (std::any_of(nodes_.begin(), nodes_.end(), is_behind)) receive(patience_ms);
    }

   private:
    static constexpr int patience_ms = 5000;
    static constexpr std::size_t in_flight_max = 64;  // rounds; a node with that many unanswered gets no more

    struct Node {
        explicit Node(test::FileDescriptor socket) : fd(std::move(socket)) {}
        test::FileDescriptor fd;
        std::uint64_t sent = 0;
        std::uint64_t answered = 0;
        std::uint64_t round_start = 0;  // value of `sent` before this round
        std::size_t yes = 0;            // in this round
        std::string partial;
    };

    void send(Node& node, std::string_view bytes, std::size_t count) {
        node.yes = 0;
        node.round_start = node.sent;
        if (node.sent - node.answered > in_flight_max * count) return;
        const auto sent = ::send(node.fd.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL);
        if (sent != static_cast<ssize_t>(bytes.size())) throw std::runtime_error("a node took no more bytes");
        node.sent += count;
    }

    [[nodiscard]] std::size_t agreeing(std::size_t count) const {
        std::size_t nodes = 0;
        for (const auto& node : nodes_) nodes += node.yes == count ? 1 : 0;
        return nodes;
    }

    void receive(int timeout_ms) {
        if (::poll(watched_.data(), watched_.size(), timeout_ms) == 0) {
            throw std::runtime_error("no quorum said yes");
        }
        for (std::size_t i = 0; i < nodes_.size(); ++i) {
            if (watched_[i].revents != 0) receive(nodes_[i]);
        }
    }

    void receive(Node& node) {
        const auto got = ::recv(node.fd.get(), buffer_.data(), buffer_.size(), 0);
        if (got < 0 && (errno == EAGAIN || errno == EINTR)) return;
        if (got <= 0) throw std::runtime_error("a node closed its connection");
        std::string_view bytes{buffer_.data(), static_cast<std::size_t>(got)};
        if (!node.partial.empty()) {
            node.partial += bytes;
            bytes = node.partial;
        }
        while (const auto length = reply_length(bytes)) {
            ++node.answered;
            if (node.answered > node.round_start && is_yes(bytes)) ++node.yes;
            bytes.remove_prefix(length);
        }
        node.partial = std::string{bytes};
    }

    void load(const detail::Script& script) {
        detail::RequestWriter request{3};
        request.arg("SCRIPT").arg("LOAD").arg(script.text);
        const auto bytes = std::move(request).take();
        for (auto& node : nodes_) send(node, bytes, 1);
        settle(0);
    }

    std::size_t quorum_;
    std::vector<Node> nodes_;
    std::vector<pollfd> watched_;
    std::array<char, 65536> buffer_{};
};

}  // namespace redlock::bench

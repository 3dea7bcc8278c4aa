// SPDX-License-Identifier: Apache-2.0
// All that a node says to a connection, from the connect on: the login, requests or a subscription, and its
// end. The first byte of the input says whether it is a subscription, and in what pieces the rest arrives.
// Byte 1 stands for the password, byte 2 for the user, and at byte 3 the node hangs up.
#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "fuzz/fuzz.hpp"
#include "fuzz/memory_in_use.hpp"
#include "redlock/hiredis/transport.hpp"
#include "redlock/voting/reply.hpp"
#include "support/posix.hpp"
#include "support/socket.hpp"

namespace redlock::test {
namespace {

constexpr std::string_view password = "Pa55w0rd-of-node";
constexpr std::string_view user = "user-of-node";

void must_hide_secrets(std::string_view shown) {
    for (const std::string_view secret : {password, user}) {
        must(shown.find(secret.substr(0, 8)) == std::string_view::npos, "no secret is shown", shown);
    }
}

/// A listener on a unix socket that has no name in the file system any more: nothing is left behind by a
/// crash.
class Listener {
   public:
    Listener() {
        const TemporaryDirectory directory;
        Address address;
        address.path = directory.file("node.sock");
        listener_ = listen_on(address);
        name_ = FileDescriptor{::open(address.path.c_str(), O_PATH | O_CLOEXEC)};
        must(static_cast<bool>(name_), "there is a socket", address.path);
    }
    [[nodiscard]] std::string path() const { return "/proc/self/fd/" + std::to_string(name_.get()); }
    [[nodiscard]] FileDescriptor accept() const {
        return FileDescriptor{::accept4(listener_.get(), nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC)};
    }

   private:
    FileDescriptor listener_;
    FileDescriptor name_;
};

/// The node: it says what the input says, to whoever connected last.
class Node {
   public:
    Node(const Listener& listener, std::string_view words, std::size_t piece)
        : listener_{listener}, words_{words}, piece_{piece} {}

    /// False: it has nothing more to say, or nobody to say it to.
    [[nodiscard]] bool turn() {
        while (FileDescriptor fresh = listener_.accept()) peer_ = std::move(fresh);
        if (!peer_) return false;
        discard();
        if (words_.empty()) {
            peer_.reset();
            return false;
        }
        if (words_.front() == '\3') {
            peer_.reset();
            words_.remove_prefix(1);
            return true;
        }
        const std::string_view part = words_.substr(0, std::min(piece_, words_.find('\3')));
        const auto sent = ::send(peer_.get(), part.data(), part.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
        if (sent > 0) words_.remove_prefix(static_cast<std::size_t>(sent));
        if (sent <= 0) peer_.reset();  // the client has hung up
        return true;
    }

   private:
    void discard() {
        char bytes[16384];
        while (::recv(peer_.get(), bytes, sizeof bytes, MSG_DONTWAIT) > 0) {
        }
    }

    const Listener& listener_;
    std::string_view words_;
    std::size_t piece_;
    FileDescriptor peer_;
};

[[nodiscard]] Options options() {
    Options options;
    options.connect_timeout = std::chrono::hours{1};
    // After a failure there is no second connection, however long an input takes: the same input does the
    // same.
    options.reconnect_min = options.reconnect_max = std::chrono::hours{1};
    return options;
}

class Client final : private redlock::detail::TransportEvents {
   public:
    explicit Client(const std::string& uri) : transport_{{Endpoint{uri}}, options()} {}

    void listen() { transport_.listen("channel"); }
    void connect() { static_cast<void>(transport_.connect(0)); }
    void poll() {
        must(transport_.poll(*this, std::chrono::nanoseconds{0}), "nobody else polls");
        must_hide_secrets(transport_.fault(0).text);
    }
    [[nodiscard]] std::size_t ups() const noexcept { return ups_; }

   private:
    void on_waiting() override {}
    bool on_awake() override { return true; }
    void on_up(std::size_t, const redlock::detail::NodeInfo& info) override {
        must(info.is_master, "a replica is no node");
        must_hide_secrets(info.scripts_refusal);
        ++ups_;
        unanswered_ = 2;
        for (std::size_t i = 0; i < unanswered_; ++i) {
            const auto sent = transport_.send(0, "*1\r\n$4\r\nPING\r\n");
            must(sent == redlock::detail::Sent::accepted, "what is up takes requests");
        }
    }
    void on_reply(std::size_t, const redlock::detail::Reply& reply) override {
        using Kind = redlock::detail::Command::Kind;
        must(unanswered_ > 0, "a reply belongs to a request", reply.text);
        --unanswered_;
        for (const Kind kind : {Kind::acquire, Kind::extend, Kind::release, Kind::peek, Kind::enlist}) {
            static_cast<void>(redlock::detail::read_reply(kind, reply));
        }
    }
    void on_down(std::size_t, const redlock::detail::Fault& fault) override {
        // A server may give an error without a text.
        must(!fault.text.empty() || fault.vote == Vote::refused, "there is a reason for every end");
        must(fault.vote == Vote::refused || fault.vote == Vote::unreachable || fault.vote == Vote::timeout,
             "which is a vote", fault.text);
        must_hide_secrets(fault.text);
        unanswered_ = 0;
    }
    void on_message(std::size_t, std::string_view) override {}

    hiredis::Transport transport_;
    std::size_t ups_ = 0;
    std::size_t unanswered_ = 0;
};

}  // namespace

void try_input(std::string_view input) {
    static const Listener listener;
    if (input.empty()) return;
    for (const std::string_view secret : {password, user}) {
        if (input.find(secret.substr(0, 8)) != std::string_view::npos) return;  // found by comparing
    }
    const auto how = static_cast<unsigned char>(input.front());
    const std::string words = with_text_for('\1', password, with_text_for('\2', user, input.substr(1)));
    const std::size_t piece = how / 2 == 0 ? words.size() : std::max(how / 2UL, words.size() / 16);
    const bool is_subscription = how % 2 == 1;
    constexpr std::size_t stated =
        4 << 20;  // a reply of 8,192 elements and 1 MiB, and what is buffered of it
    const std::size_t before = memory_in_use();

    std::string uri = "unix://";
    uri.append(user).append(":").append(password).append("@").append(listener.path());
    Client client{uri};
    if (is_subscription) client.listen();
    Node node{listener, words, piece};
    for (bool goes_on = true; goes_on;) {
        if (!is_subscription) client.connect();
        client.poll();
        goes_on = node.turn();
        client.poll();
        must(memory_in_use() <= before + stated, "no node makes us take more memory than is stated");
    }
    const bool is_refused = words.starts_with('-') && words.find('\3') == std::string::npos;
    must(!is_refused || client.ups() == 0, "no connection without a password that is right", words);
}

}  // namespace redlock::test

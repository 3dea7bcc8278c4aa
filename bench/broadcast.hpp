// SPDX-License-Identifier: Apache-2.0
// The other way to wake waiters: the release notifies all of them, and each tries at once. The library
// notifies one. The benchmarks compare the two, with everything that helps a broadcast:
//
// - PUBLISH is in the script that deletes the key: it costs no request of its own, and arrives as early as
//   the library's notice;
// - after a split vote a waiter tries again at once, one node first, as the library does;
// - a waiter subscribes to one node, the first. Waiting for the messages of a quorum cost more attempts and
//   gained nothing. Letting a process wait for the message of its own release before it wants the lock again
//   gave more hand-overs and fewer locks.
#pragma once

#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <random>
#include <redlock/redlock.hpp>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>

#include "support/redis_client.hpp"
#include "support/socket.hpp"

namespace redlock::bench {

// Deletes the key if it has our token, and notifies all subscribers to the name of the key.
inline constexpr std::string_view broadcast_script = R"(
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
redis.call('DEL', KEYS[1])
redis.call('PUBLISH', KEYS[1], '')
return 1)";

// A request of the library, with the script above in place of its own release.
[[nodiscard]] inline std::string as_broadcast(std::string_view request) {
    std::string changed{request};
    const auto own = detail::sha1_of(detail::release_script);
    static const auto sha1 = detail::sha1_hex(broadcast_script);
    const auto at = changed.find(own);
    if (at != std::string::npos) changed.replace(at, own.size(), sha1.data(), sha1.size());
    return changed;
}

// One process's subscription to the releases of one resource.
class BroadcastListener {
   public:
    BroadcastListener(const Endpoints& nodes, const std::string& resource) {
        for (const auto& node : nodes.list()) {
            test::RedisClient client{test::Address::parse(node.display())};
            client.query({"SCRIPT", "LOAD", std::string{broadcast_script}});
        }
        socket_ = test::connect_to(test::Address::parse(nodes.list().front().display()));
        detail::RequestWriter subscribe{2};
        const auto bytes = std::move(subscribe.arg("SUBSCRIBE").arg(resource)).take();
        const auto sent = ::send(socket_.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL);
        constexpr std::chrono::seconds patience{5};
        if (sent < 0 || !hears(patience)) throw std::runtime_error("cannot subscribe");
    }

    // Tries at every message, and without one after the delays of the default RetryPolicy. A message that
    // arrives during an attempt is not lost: it stays in the socket. Needs after_split() in the options of
    // `locks`.
    template <class Locks>
    auto lock(Locks& locks, const std::string& resource) {
        for (int silences = 0;;) {
            hears(std::chrono::milliseconds{0});  // messages from before this attempt are obsolete
            auto lock = locks.lock(resource, {.ttl = std::chrono::seconds{10}, .wait = forever});
            if (lock) return lock;
            silences = hears(backstop(silences)) ? 0 : silences + 1;
        }
    }

    // For RetryPolicy::decide: tries again at once after a split vote; otherwise gives up, so that lock()
    // above waits for a message.
    static std::optional<std::chrono::milliseconds> after_split(std::uint32_t, const Failure& failure) {
        const auto voted = [&](Vote vote) {
            return std::any_of(failure.nodes().begin(), failure.nodes().end(),
                               [=](const NodeReport& node) { return node.vote == vote; });
        };
        if (voted(Vote::granted) && voted(Vote::denied)) return std::chrono::milliseconds{0};
        return std::nullopt;
    }

   private:
    [[nodiscard]] std::chrono::milliseconds backstop(int silences) {
        constexpr int doublings_max = 5;  // enough to reach the cap
        const RetryPolicy policy;
        const auto bound = std::min(policy.base * (1 << std::min(silences, doublings_max)), policy.cap);
        return std::chrono::milliseconds{std::uniform_int_distribution{0L, long{bound.count()}}(random_)};
    }

    // Discards the messages that have arrived, or waits for one. Returns false if none arrived.
    bool hears(std::chrono::milliseconds longest) {
        pollfd watched{socket_.get(), POLLIN, 0};
        if (::poll(&watched, 1, static_cast<int>(longest.count())) <= 0) return false;
        std::array<char, 4096> messages{};
        const auto size = ::recv(socket_.get(), messages.data(), messages.size(), 0);
        if (size == 0) throw std::runtime_error("the node closed the subscription");
        return size > 0;
    }

    test::FileDescriptor socket_;
    std::mt19937 random_{std::random_device{}()};
};

}  // namespace redlock::bench

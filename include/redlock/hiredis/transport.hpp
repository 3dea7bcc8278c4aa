// SPDX-License-Identifier: Apache-2.0
// N nodes under one poll.
#pragma once

#include <poll.h>

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

#include "redlock/endpoint.hpp"
#include "redlock/engine/transport.hpp"
#include "redlock/hiredis/connection.hpp"
#include "redlock/hiredis/operating_system.hpp"
#include "redlock/hiredis/system.hpp"
#include "redlock/options.hpp"

namespace redlock::inline v0_1::hiredis {

/// One non-blocking connection per node. See detail::IsTransport for what each function promises.
template <class System>
class BasicTransport {
   public:
    BasicTransport(std::vector<Endpoint> nodes, Options options, System system = {})
        : system_{std::move(system)}, options_{std::move(options)} {
        for (Endpoint& node : nodes) {
            connections_.push_back(std::make_unique<Node>(system_, std::move(node), options_, wake_up_));
        }
    }
    BasicTransport(const BasicTransport&) = delete;
    BasicTransport& operator=(const BasicTransport&) = delete;

    [[nodiscard]] std::size_t size() const noexcept { return connections_.size(); }
    [[nodiscard]] std::string_view endpoint(std::size_t node) const noexcept {
        return connections_[node]->name();
    }
    [[nodiscard]] detail::Fault fault(std::size_t node) const noexcept { return connections_[node]->fault(); }

    detail::Sent send(std::size_t node, std::string_view request) {
        return connections_[node]->send(request);
    }
    detail::Sent connect(std::size_t node) { return connections_[node]->connect(); }
    [[nodiscard]] bool is_promising(std::size_t node) const noexcept {
        return connections_[node]->is_promising();
    }
    void drop(std::size_t node, const detail::Fault& fault) { connections_[node]->drop(fault); }
    void keep_trying(std::size_t node, bool is_wanted) noexcept {
        connections_[node]->keep_trying(is_wanted);
    }

    [[nodiscard]] bool unfinished() const noexcept {
        for (const auto& connection : connections_) {
            if (connection->unfinished()) return true;
        }
        return false;
    }

    void flush() {
        for (const auto& connection : connections_) connection->flush();
    }

    [[nodiscard]] bool poll(detail::TransportEvents& events,
                            std::optional<std::chrono::nanoseconds> timeout) {
        if (channel_ != wanted_channel_) subscribe();
        const auto poll_set = poll_set_;  // no other thread's, whoever drives afterwards
        auto& sockets = poll_set->sockets;
        sockets.clear();
        sockets.push_back({poll_set->eviction.fd(), POLLIN, 0});
        sockets.push_back({wake_up_->fd(), POLLIN, 0});
        for (const auto& connection : connections_) connection->prepare(sockets);
        for (const auto& subscriber : subscribers_) subscriber->prepare(sockets);
        timeout = shorten(timeout);
        poll_set->until.reset();
        if (timeout) poll_set->until = system_.now() + std::min(*timeout, longest_wait);
        events.on_waiting();
        system_.wait(sockets, timeout);
        if (!events.on_awake()) return false;
        if (sockets[1].revents != 0) wake_up_->clear();
        for (std::size_t i = 0; i < connections_.size() + subscribers_.size(); ++i) {
            const std::size_t node = i % connections_.size();
            Node& connection = *(i == node ? connections_ : subscribers_)[node];
            connection.advance(&sockets[2 + i * Node::sockets], node, events);
        }
        return true;
    }

    [[nodiscard]] bool take_over() {
        constexpr std::chrono::milliseconds lateness{1};  // of a timer
        const std::shared_ptr<PollSet> poll_set = poll_set_;
        const bool is_late = poll_set->until && system_.now() - *poll_set->until > lateness;
        std::vector<pollfd> sockets;  // a copy: the kernel writes to the other
        for (const pollfd& socket : poll_set->sockets) sockets.push_back({socket.fd, socket.events, 0});
        if (!is_late && ::poll(sockets.data(), sockets.size(), 0) <= 0) return false;
        try {
            poll_set_ = std::make_shared<PollSet>();
        } catch (const std::system_error&) {  // no more descriptors
            return false;
        }
        poll_set->eviction.wake();
        return true;
    }

    void listen(std::string_view channel) { wanted_channel_ = channel; }

    [[nodiscard]] std::size_t listening() const noexcept {
        std::size_t count = 0;
        for (const auto& subscriber : subscribers_) count += subscriber->is_up() ? 1U : 0U;
        return count;
    }

    void abandon() const noexcept {
        for (const auto& connection : connections_) connection->abandon();
        for (const auto& subscriber : subscribers_) subscriber->abandon();
    }

    void wake() const noexcept { wake_up_->wake(); }

    void random(std::span<unsigned char> bytes) const { system_.random(bytes); }

   private:
    using Node = Connection<System>;
    using WakeUp = typename System::WakeUp;

    void subscribe() {
        channel_ = wanted_channel_;
        subscribers_.clear();
        for (const auto& node : connections_) {
            if (channel_.empty()) continue;
            subscribers_.push_back(
                std::make_unique<Node>(system_, node->endpoint(), options_, wake_up_, channel_));
        }
    }

    /// The timeout, shortened where a connection must be looked at before.
    [[nodiscard]] std::optional<std::chrono::nanoseconds> shorten(
        std::optional<std::chrono::nanoseconds> timeout) const {
        std::optional<SteadyTime> earliest;
        for (const auto* connections : {&connections_, &subscribers_}) {
            for (const auto& connection : *connections) {
                const auto deadline = connection->deadline();
                if (deadline && (!earliest || *deadline < *earliest)) earliest = deadline;
            }
        }
        if (!earliest) return timeout;
        const std::chrono::nanoseconds left = *earliest - system_.now();
        return std::max(std::chrono::nanoseconds{0}, std::min(timeout.value_or(left), left));
    }

    /// What one thread waits for; one that takes over makes another.
    struct PollSet {
        std::vector<pollfd> sockets;
        std::optional<SteadyTime> until;
        WakeUp eviction;
    };

    static constexpr std::chrono::nanoseconds longest_wait = std::chrono::hours{24 * 365};

    [[no_unique_address]] System system_;
    Options options_;
    std::shared_ptr<WakeUp> wake_up_ = std::make_shared<WakeUp>();
    std::vector<std::unique_ptr<Node>> connections_;
    std::string channel_;
    std::string wanted_channel_;                      ///< from the next poll on
    std::vector<std::unique_ptr<Node>> subscribers_;  ///< none, or one per node
    std::shared_ptr<PollSet> poll_set_ = std::make_shared<PollSet>();
};

/// Over sockets.
class Transport : public BasicTransport<OperatingSystem> {
   public:
    using BasicTransport::BasicTransport;
};

static_assert(detail::IsTransport<Transport>);

}  // namespace redlock::inline v0_1::hiredis

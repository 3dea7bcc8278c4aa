// SPDX-License-Identifier: Apache-2.0
// All nodes: how many are connected, which one leads, and which of them are one server.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>
#include <vector>

#include "redlock/engine/eligibility.hpp"
#include "redlock/engine/key_records.hpp"
#include "redlock/engine/pending_releases.hpp"
#include "redlock/engine/request_queue.hpp"
#include "redlock/engine/round.hpp"
#include "redlock/engine/transport.hpp"
#include "redlock/voting/quorum.hpp"

namespace redlock::inline v0_1::detail {

/// What the engine knows of one node.
template <class TimePoint>
struct Node {
    RequestQueue<TimePoint> in_flight;  ///< handed to the transport; replies come in this order
    RequestQueue<TimePoint> waiting;    ///< for the connection that is being made
    std::size_t in_flight_unsure = 0;   ///< how many are in flight whose reply may need more, see Round
    PendingReleases<TimePoint> pending_releases;
    Link<TimePoint> link;
    bool is_up = false;
    bool is_duplicate = false;  ///< of another: it gets no more requests, and is dropped when idle (R24)
    Scripts scripts = Scripts::by_name;
    Eligibility<TimePoint> eligibility;
};

template <class Transport, class TimePoint>
class Nodes {
   public:
    explicit Nodes(Transport& transport) : transport_{transport}, nodes_(transport.size()) {}

    [[nodiscard]] std::size_t size() const noexcept { return nodes_.size(); }
    [[nodiscard]] Node<TimePoint>& operator[](std::size_t i) noexcept { return nodes_[i]; }
    [[nodiscard]] const Node<TimePoint>& operator[](std::size_t i) const noexcept { return nodes_[i]; }
    [[nodiscard]] auto begin() const noexcept { return nodes_.begin(); }
    [[nodiscard]] auto end() const noexcept { return nodes_.end(); }

    /// The transport does not report the end of an idle connection: it is found here, and a new one is made.
    Sent connect(std::size_t i) {
        if (nodes_[i].is_up && !nodes_[i].in_flight.empty()) return Sent::accepted;  // quick: often asked
        const Sent state = transport_.connect(i);
        if (state != Sent::accepted) nodes_[i].is_up = false;
        return state;
    }

    /// Whether fewer than a quorum are connected, and a quorum soon may be.
    [[nodiscard]] bool lacks_connections() {
        std::size_t connected = 0;
        std::size_t promised = 0;
        for (std::size_t i = 0; i < nodes_.size(); ++i) {
            const Sent state = connect(i);
            if (state == Sent::accepted) ++connected;
            if (state == Sent::connecting && transport_.is_promising(i)) ++promised;
        }
        const std::size_t quorum = quorum_of(nodes_.size());
        return connected < quorum && connected + promised >= quorum;
    }

    /// The node that all contenders for a resource ask first: by a hash of the resource and the server, among
    /// the nodes that are connected and vote, without those to avoid.
    template <class Clock>
    [[nodiscard]] std::optional<std::size_t> lead_for(std::string_view resource,
                                                      const std::vector<bool>& avoid, const Clock& clock) {
        std::optional<std::size_t> lead;
        std::uint64_t highest = 0;
        for (std::size_t i = 0; i < nodes_.size(); ++i) {
            const auto& eligibility = nodes_[i].eligibility;
            if (avoid[i] || connect(i) != Sent::accepted) continue;
            if (eligibility.objection(clock)) continue;
            const std::string_view name =
                eligibility.run_id().empty() ? transport_.endpoint(i) : eligibility.run_id();
            const std::uint64_t rank = hash_of(name, hash_of(resource));
            if (lead && rank <= highest) continue;
            lead = i;
            highest = rank;
        }
        return lead;
    }

    /// Another node than `i` that is up and leads to this server. There is none for the server 0.
    [[nodiscard]] std::optional<std::size_t> other_at(std::uint64_t server, std::size_t i) const {
        for (std::size_t other = 0; other < nodes_.size(); ++other) {
            const bool is_same = nodes_[other].is_up && nodes_[other].eligibility.server() == server;
            if (server != 0 && other != i && is_same) return other;
        }
        return std::nullopt;
    }

    /// Whether the round went to this node's server already, by way of another node. That one is down since:
    /// else this one would not be up.
    [[nodiscard]] bool has_asked_server(const Round<TimePoint>& round, std::size_t i) const {
        const std::uint64_t server = nodes_[i].eligibility.server();
        if (server == 0) return false;
        for (std::size_t other = 0; other < nodes_.size(); ++other) {
            if (other != i && round.ballots[other].server == server) return true;
        }
        return false;
    }

   private:
    Transport& transport_;
    std::vector<Node<TimePoint>> nodes_;
};

}  // namespace redlock::inline v0_1::detail

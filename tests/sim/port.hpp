// SPDX-License-Identifier: Apache-2.0
// A client's end of its connections to one node: connected on demand, with a backoff after failures.
#pragma once

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <string_view>
#include <utility>

#include "sim/network.hpp"
#include "sim/random.hpp"

namespace redlock::sim {

struct Port {
    enum class Stage : std::uint8_t { down, connecting, up };

    Stage stage = Stage::down;
    ConnectionId connection = no_connection;
    Instant connect_by{0};
    Instant retry_at{0};
    unsigned failures = 0;      ///< since a request was answered
    bool has_answered = false;  ///< on this connection

    /// With a channel, it subscribes to the channel.
    void open(Network& network, std::uint32_t client, std::uint32_t node, std::string_view channel = {}) {
        stage = Stage::connecting;
        connect_by = network.now() + network.plan().options.connect_timeout;
        connection = network.open(client, node, channel);
    }

    void come_up() noexcept { stage = Stage::up; }

    void answer() noexcept {
        failures = 0;
        has_answered = true;
    }

    /// A node that answered on the last connection is tried again at once.
    void fail(Network& network, Random& random) {
        network.hang_up(connection);
        connection = no_connection;
        retry_at = network.now();
        if (!std::exchange(has_answered, false)) retry_at += backoff(network.plan().options, random);
        stage = Stage::down;
    }

    [[nodiscard]] bool is_too_late(Instant now) const noexcept {
        return stage == Stage::connecting && now >= connect_by;
    }

   private:
    [[nodiscard]] std::chrono::nanoseconds backoff(const Options& options, Random& random) {
        const auto longest = std::min(std::int64_t{options.reconnect_min.count()} << std::min(failures, 20U),
                                      std::int64_t{options.reconnect_max.count()});
        ++failures;
        return milliseconds{longest / 2 + random.between(0, longest / 2)};
    }
};

}  // namespace redlock::sim

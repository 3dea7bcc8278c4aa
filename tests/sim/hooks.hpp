// SPDX-License-Identifier: Apache-2.0
// Hooks into the simulated network: they decide what is drawn elsewhere, and see every message.
#pragma once

#include <cstdint>
#include <span>

#include "sim/clock.hpp"
#include "sim/model_redis.hpp"

namespace redlock::sim {

struct Message;
class SimNode;

/// The two ends of a connection.
struct Ends {
    std::uint32_t client = 0;
    std::uint32_t node = 0;
    std::uint32_t connection = UINT32_MAX;  ///< any
};

class Hooks {
   public:
    Hooks() = default;
    Hooks(const Hooks&) = delete;
    Hooks& operator=(const Hooks&) = delete;
    virtual ~Hooks() = default;

    /// How long a message takes from one end to the other.
    [[nodiscard]] virtual Instant delay_of(const Ends& ends, const Message& message) = 0;
    /// In place of random bytes, for clients.
    virtual void fill(std::span<unsigned char> bytes) = 0;

    /// A client has sent it.
    virtual void on_sent(const Ends& ends, const Message& message) = 0;
    /// A node has run a command, and answers.
    virtual void on_executed(const Ends& ends, SimNode& node, ModelRedis::Words words,
                             const ModelReply& reply) = 0;
    /// A client gets it.
    virtual void on_arrived(const Ends& ends, const Message& message) = 0;
};

}  // namespace redlock::sim

// SPDX-License-Identifier: Apache-2.0
// The machine that a client's connections run on: its clock, and its ends of the simulated connections.
#pragma once

#include <poll.h>

#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "redlock/endpoint.hpp"
#include "redlock/hiredis/system.hpp"
#include "redlock/token.hpp"
#include "sim/clock.hpp"
#include "sim/deep/network.hpp"
#include "sim/random.hpp"

namespace redlock::sim::deep {

/// What the connections of one client share. The clock is the one that may be slewed, as steady_clock is.
struct Machine {
    Machine(Network& net, std::uint32_t which, const ClientTime& clock)
        : network{net}, client{which}, time{clock}, random{net.plan().seed, 100 + which} {
        const Plan& plan = net.plan();
        is_prompt = !plan.has(Fault::Kind::pause) && !plan.has(Fault::Kind::pause_mid_send) &&
                    !plan.wiring.rests_when_idle;
    }

    Network& network;
    std::uint32_t client;
    const ClientTime& time;
    Random random;
    std::vector<std::string> tokens{};                      ///< all that were drawn
    std::array<std::int64_t, Plan::nodes_max> in_flight{};  ///< requests without a reply, of each node
    bool is_prompt = true;                                  ///< it is never paused or left unread
    bool is_read = true;                                    ///< somebody drives
    bool is_shut = false;
    Farewell farewell = Farewell::spoken;
    unsigned pause_after_sends = 0;
    bool is_stopped = false;  ///< between two sends: nothing is sent before the pause is over
    // of the last wait
    bool was_ready = false;
    bool was_used = false;  ///< since the last poll began to wait
    Instant blocks_until{0};

    /// steady_clock's zero is long ago.
    static constexpr std::chrono::nanoseconds since_boot = std::chrono::hours{1};

    [[nodiscard]] hiredis::SteadyTime now() const {
        return hiredis::SteadyTime{since_boot + time.at(network.now()).reading(1)};
    }
    [[nodiscard]] Instant true_time(hiredis::SteadyTime when) const {
        return time.slewed.when(when.time_since_epoch() - since_boot - time.skipped);
    }
};

/// See hiredis::IsByteStream.
class ByteStream {
   public:
    ByteStream(Machine& machine, std::string_view address)
        : machine_{&machine}, error_{machine.is_shut ? "the world has ended" : ""} {
        if (error_.empty()) id_ = machine.network.connect(machine.client, address);
    }
    ByteStream(ByteStream&& other) noexcept
        : machine_{other.machine_}, id_{std::exchange(other.id_, none)}, error_{std::move(other.error_)} {}
    ByteStream& operator=(ByteStream&& other) noexcept {
        std::swap(machine_, other.machine_);
        std::swap(id_, other.id_);
        std::swap(error_, other.error_);
        return *this;
    }
    ~ByteStream() {
        if (id_ != none) machine_->network.close(id_, machine_->farewell);
    }

    [[nodiscard]] const std::string& error() const noexcept { return error_; }
    [[nodiscard]] int fd() const noexcept { return static_cast<int>(id_); }
    [[nodiscard]] int connect_error() const { return machine_->network.connect_error(id_); }

    [[nodiscard]] std::ptrdiff_t send(std::string_view bytes) {
        if (machine_->pause_after_sends > 0 && --machine_->pause_after_sends == 0)
            machine_->is_stopped = true;
        return machine_->is_stopped ? 0 : machine_->network.send(id_, bytes);
    }
    [[nodiscard]] hiredis::Received receive(std::span<char> buffer) {
        return machine_->network.receive(id_, buffer);
    }
    [[nodiscard]] bool has_news() const { return machine_->network.has_news(id_); }
    void abandon() const noexcept {}

   private:
    static constexpr ConnectionId none = UINT32_MAX;

    Machine* machine_;
    ConnectionId id_ = none;
    std::string error_;
};

/// See hiredis::IsSystem.
class System {
   public:
    using ByteStream = deep::ByteStream;
    using LookupPtr = std::shared_ptr<Lookup>;
    /// There is one thread, and nobody to wake.
    struct WakeUp {
        [[nodiscard]] static int fd() noexcept { return -1; }
        void wake() const noexcept {}
        void clear() const noexcept {}
    };

    explicit System(Machine& machine) : machine_{&machine} {}

    [[nodiscard]] hiredis::SteadyTime now() const { return machine_->now(); }
    [[nodiscard]] ByteStream connect(const Endpoint& /*endpoint*/, const std::string& address) {
        return {*machine_, address};
    }
    [[nodiscard]] LookupPtr look_up(const std::string& host) {
        return machine_->network.look_up(machine_->client, host);
    }

    /// Says what is ready, and notes for how long a thread would block here.
    void wait(std::vector<pollfd>& watched, std::optional<std::chrono::nanoseconds> timeout) {
        machine_->was_ready = machine_->network.take_has_looked_up(machine_->client);
        machine_->was_used = false;
        for (pollfd& one : watched) {
            one.revents = 0;
            if (one.fd < 0 || !machine_->is_read) continue;
            if (machine_->is_shut) {
                one.revents = POLLIN | POLLHUP;
            } else {
                one.revents = machine_->network.readiness(static_cast<ConnectionId>(one.fd), one.events);
            }
            machine_->was_ready |= one.revents != 0;
        }
        machine_->blocks_until = timeout ? machine_->true_time(now() + *timeout) : never;
    }

    void random(std::span<unsigned char> bytes) const {
        for (unsigned char& byte : bytes) byte = static_cast<unsigned char>(machine_->random.next());
        if (bytes.size() == Token::byte_count) {
            machine_->tokens.push_back(Token{std::span<const unsigned char, Token::byte_count>{bytes}}.str());
        }
    }

   private:
    Machine* machine_;
};

static_assert(hiredis::IsSystem<System>);

}  // namespace redlock::sim::deep

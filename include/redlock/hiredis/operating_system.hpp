// SPDX-License-Identifier: Apache-2.0
// The machine as it is: sockets, threads for name look-ups, poll and the steady clock.
#pragma once

#include <poll.h>
#include <signal.h>
#include <time.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <optional>
#include <span>
#include <string>
#include <system_error>
#include <vector>

#include "redlock/endpoint.hpp"
#include "redlock/hiredis/resolver.hpp"
#include "redlock/hiredis/socket.hpp"
#include "redlock/hiredis/system.hpp"

namespace redlock::inline v0_1::hiredis {

/// See IsSystem.
struct OperatingSystem {
    using ByteStream = Socket;
    using WakeUp = hiredis::WakeUp;
    using LookupPtr = Lookups::StatePtr;

    [[nodiscard]] static SteadyTime now() noexcept { return std::chrono::steady_clock::now(); }

    [[nodiscard]] static Socket connect(const Endpoint& endpoint, const std::string& address) {
        if (endpoint.scheme() == Endpoint::Scheme::unix_socket) return Socket::to_path(address);
        return Socket::to_address(address, endpoint.port());
    }

    [[nodiscard]] static LookupPtr look_up(const std::string& host) {
        return Lookups::of_process().begin(host);
    }

    static void wait(std::vector<pollfd>& watched, std::optional<std::chrono::nanoseconds> timeout) noexcept {
        timespec limit{};
        if (timeout) {
            limit.tv_sec = timeout->count() / 1'000'000'000;
            limit.tv_nsec = timeout->count() % 1'000'000'000;
        }
        ::ppoll(watched.data(), watched.size(), timeout ? &limit : nullptr, nullptr);
    }

    static void random(std::span<unsigned char> bytes) {
        if (::getentropy(bytes.data(), bytes.size()) != 0) {
            throw std::system_error{errno, std::generic_category(), "redlock: getentropy"};
        }
    }
};

static_assert(IsSystem<OperatingSystem>);

}  // namespace redlock::inline v0_1::hiredis

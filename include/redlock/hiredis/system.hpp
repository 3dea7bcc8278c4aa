// SPDX-License-Identifier: Apache-2.0
// The seam below the connections: what they ask of the machine. Behind it are sockets, or a simulation of
// them.
#pragma once

#include <poll.h>

#include <chrono>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "redlock/endpoint.hpp"
#include "redlock/version.hpp"

namespace redlock::inline v0_1::hiredis {

using SteadyTime = std::chrono::steady_clock::time_point;

/// What one look at a stream's incoming bytes has given.
struct Received {
    enum class Kind : std::uint8_t { nothing, bytes, end };
    Kind kind = Kind::nothing;
    std::size_t size = 0;  ///< of the bytes
    int error = 0;         ///< an errno, at an end that is a failure
};

/// A connection, or one that is being made, that carries bytes in both directions. It closes with the object.
/// Nothing blocks and nothing throws.
template <class T>
concept IsByteStream = std::movable<T> &&
    requires(T& stream, const T& view, std::string_view bytes, std::span<char> buffer) {
    /// Why not even the beginning of a connect was possible; empty where it was.
    { view.error() } -> std::convertible_to<const std::string&>;
    /// What System::wait() is to be asked about.
    { view.fd() } -> std::same_as<int>;
    /// After it has become writable for the first time: 0 where it is connected, or an errno.
    { stream.connect_error() } -> std::same_as<int>;
    /// How many of the bytes were taken; -1: none can be any more.
    { stream.send(bytes) } -> std::same_as<std::ptrdiff_t>;
    { stream.receive(buffer) } -> std::same_as<Received>;
    /// Whether the peer has ended it, or bytes have arrived, as far as one sees without reading.
    { view.has_news() } -> std::same_as<bool>;
    /// In a forked child: closes its copy.
    view.abandon();
};

/// The machine that a transport runs on. Nothing blocks but wait().
template <class T>
concept IsSystem = requires(T& system, const T& view, const Endpoint& endpoint, const std::string& name,
                            std::vector<pollfd>& watched, std::optional<std::chrono::nanoseconds> timeout,
                            std::span<unsigned char> bytes) {
    requires IsByteStream<typename T::ByteStream>;
    { view.now() } -> std::same_as<SteadyTime>;
    /// Begins to connect to one address of the endpoint: a path where that is a unix socket, else a numeric
    /// address.
    { system.connect(endpoint, name) } -> std::same_as<typename T::ByteStream>;
    /// Begins to look up the addresses of a host name. The outcome is nothing until that has ended.
    { system.look_up(name) } -> std::same_as<typename T::LookupPtr>;
    /// Until one of the events has happened, or the time is over; fills in the events.
    system.wait(watched, timeout);
    /// Random bytes; thread-safe.
    view.random(bytes);
};

}  // namespace redlock::inline v0_1::hiredis

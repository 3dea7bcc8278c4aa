// SPDX-License-Identifier: Apache-2.0
// The seam: all that the core knows of the world.
#pragma once

#include <chrono>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "redlock/result.hpp"
#include "redlock/voting/reply.hpp"

namespace redlock::inline v0_1::detail {

/// How a node can be made to run a script.
enum class Scripts : std::uint8_t {
    by_name,  ///< EVALSHA
    by_text,  ///< EVAL only
    never,    ///< not at all: what it grants could be neither extended nor released
};

/// What a node says of itself when a connection to it is ready. It holds until a reply contradicts it (R29).
struct NodeInfo {
    std::string run_id;              ///< of the server process; empty where it may not be asked
    std::chrono::seconds uptime{0};  ///< by the node's wall clock: two truncated seconds' difference
    bool is_master = true;
    Scripts scripts = Scripts::by_name;
    std::string scripts_refusal{};  ///< where never: what the node said
};

/// What became of a request that was to be sent.
enum class Sent : std::uint8_t {
    accepted,    ///< it will be written, in order; its reply comes, or the node goes down
    connecting,  ///< not now: wait for on_up or on_down
    down,        ///< not now, and no connection is being made: see fault()
};

/// Why there is no connection to a node, as a vote and in words.
struct Fault {
    Vote vote = Vote::unreachable;
    std::string_view text;
};

/// What a transport tells, from within poll() only.
struct TransportEvents {
    /// From here on the transport waits, and touches nothing but its wait until on_awake().
    virtual void on_waiting() = 0;
    /// The waiting is over; what happened follows. False: another thread polls by now, and this poll() is
    /// over.
    [[nodiscard]] virtual bool on_awake() = 0;
    virtual void on_reply(std::size_t node, const Reply& reply) = 0;
    virtual void on_up(std::size_t node, const NodeInfo& info) = 0;
    /// Whatever was in flight at the node is undecided now.
    virtual void on_down(std::size_t node, const Fault& fault) = 0;
    /// Something was published on the channel that the transport listens to.
    virtual void on_message(std::size_t node, std::string_view payload) = 0;

   protected:
    ~TransportEvents() = default;
};

/// N nodes. Only wake() may be called from any thread, the rest from one at a time. Nothing but poll()
/// blocks, and nothing throws but for want of memory.
template <class T>
concept IsTransport = requires(T& transport, const T& view, std::size_t node, std::string_view request,
                               TransportEvents& events, std::optional<std::chrono::nanoseconds> timeout,
                               std::span<unsigned char> bytes, std::string_view channel, const Fault& fault,
                               bool is_wanted) {
    { view.size() } -> std::same_as<std::size_t>;
    { view.endpoint(node) } -> std::convertible_to<std::string_view>;
    /// Hands over one request. Where there is no connection it begins to make one, unless the backoff
    /// forbids it.
    { transport.send(node, request) } -> std::same_as<Sent>;
    /// The same without a request: `accepted` says that there is a connection.
    { transport.connect(node) } -> std::same_as<Sent>;
    { view.fault(node) } -> std::same_as<Fault>;
    /// Whether a connection is being made and nothing is known to be wrong with the node: it is the first, or
    /// the first since one that was well has ended.
    { view.is_promising(node) } -> std::same_as<bool>;
    /// Ends a connection that is of no use, for a reason that fault() then gives; tells nothing. The next is
    /// made after the backoff, its name, address and role looked up anew.
    transport.drop(node, fault);
    /// While it is wanted, poll() itself connects to the node, as often as the backoff allows.
    transport.keep_trying(node, is_wanted);
    /// Whether bytes that were accepted are still to be written, or a connection is being made.
    { view.unfinished() } -> std::same_as<bool>;
    /// Writes what was accepted, as far as it goes without blocking; tells nothing.
    transport.flush();
    /// Flushes, waits until something happens, wake() is called or the timeout (none: for good) passes,
    /// then tells what happened. False: another thread polls by now, and nothing was told.
    { transport.poll(events, timeout) } -> std::same_as<bool>;
    transport.wake();
    /// For another thread than the one that is in poll(), while that waits, where it does not come back
    /// though something happened or its time is over: has that poll() end without a word. False: it has
    /// nothing to come back for.
    { transport.take_over() } -> std::same_as<bool>;
    /// Subscribes to a channel on all nodes, on connections of their own, and keeps it so; an empty name
    /// ends that.
    transport.listen(channel);
    /// On how many nodes it is subscribed now.
    { view.listening() } -> std::same_as<std::size_t>;
    /// In a forked child: closes its copies of the sockets, and says nothing on them.
    transport.abandon();
    /// Random bytes for tokens and jitter; thread-safe.
    view.random(bytes);
};

}  // namespace redlock::inline v0_1::detail

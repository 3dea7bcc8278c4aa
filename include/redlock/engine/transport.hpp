// SPDX-License-Identifier: Apache-2.0
// The seam to the network: what the engine asks of it, and what it is told.
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
    never,    ///< not at all: a lock that it grants could be neither extended nor released
};

/// What a node says of itself at login. It holds until a reply contradicts it (R29).
struct NodeInfo {
    std::string run_id;              ///< of the server process; empty where it may not be asked
    std::chrono::seconds uptime{0};  ///< by the node's wall clock: two truncated seconds' difference
    bool is_master = true;
    Scripts scripts = Scripts::by_name;
    std::string scripts_refusal{};  ///< what the node said, where `scripts` is never
};

/// What became of a request that was to be sent.
enum class Sent : std::uint8_t {
    accepted,    ///< it will be written, in order; its reply comes, or the node goes down
    connecting,  ///< not now: wait for on_up or on_down
    down,        ///< not now, and no connection is being made: see fault()
};

/// Why there is no connection to a node, as a vote and as text.
struct Fault {
    Vote vote = Vote::unreachable;
    std::string_view text;
};

/// What a transport reports, from within poll() only.
struct TransportEvents {
    /// The transport begins to wait, and touches nothing of its own until on_awake() but what it waits on.
    virtual void on_waiting() = 0;
    /// The waiting is over; what happened is reported next. False: another thread polls by now, and this
    /// poll() returns without a report.
    [[nodiscard]] virtual bool on_awake() = 0;
    virtual void on_reply(std::size_t node, const Reply& reply) = 0;
    virtual void on_up(std::size_t node, const NodeInfo& info) = 0;
    /// What was in flight there may have run or not.
    virtual void on_down(std::size_t node, const Fault& fault) = 0;
    /// Something was published on the channel that the transport listens to.
    virtual void on_message(std::size_t node, std::string_view payload) = 0;

   protected:
    ~TransportEvents() = default;
};

/// N nodes. Only wake() may be called from any thread, the rest from one thread at a time. Only poll()
/// blocks. Nothing throws but std::bad_alloc.
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
    /// The same without a request: `accepted` means that there is a connection.
    { transport.connect(node) } -> std::same_as<Sent>;
    { view.fault(node) } -> std::same_as<Fault>;
    /// Whether a connection is being made and the node is not known to be in trouble: it is the first
    /// connection, or the first since a healthy one ended.
    { view.is_promising(node) } -> std::same_as<bool>;
    /// Ends a useless connection, for a reason that fault() then gives; reports nothing. The next one is made
    /// after the backoff; the node's name, address and role are looked up anew.
    transport.drop(node, fault);
    /// While it is wanted, poll() itself connects to the node, as often as the backoff allows.
    transport.keep_trying(node, is_wanted);
    /// Whether bytes that were accepted are still to be written, or a connection is being made.
    { view.unfinished() } -> std::same_as<bool>;
    /// Writes what was accepted, as far as it goes without blocking; reports nothing.
    transport.flush();
    /// Flushes, waits until something happens, wake() is called or the timeout (none: for good) passes, then
    /// reports what happened. False: another thread polls by now, and nothing was reported.
    { transport.poll(events, timeout) } -> std::same_as<bool>;
    transport.wake();
    /// For a second thread, while the one in poll() waits and does not come back though something happened or
    /// its time is over: makes that poll() return without a report. False: it has no reason to come back.
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

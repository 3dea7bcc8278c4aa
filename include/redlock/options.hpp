// SPDX-License-Identifier: Apache-2.0
// What can be set, each with its unit, default, range and meaning of zero.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <optional>
#include <stop_token>
#include <string>
#include <utility>

#include "redlock/result.hpp"

namespace redlock::inline v0_1 {

/// As LockOptions::wait: until the lock is got or a stop is requested.
inline constexpr std::chrono::milliseconds forever = std::chrono::milliseconds::max();

namespace detail {

/// A T with a destructor that is never inlined. Where users write a brace list of options, g++ 12 at -O3
/// would otherwise warn that the destructor of a std::function uses uninitialised memory.
template <class T>
struct EndsOutOfLine : T {
    using T::T;
    using T::operator=;
    EndsOutOfLine() = default;
    EndsOutOfLine(const EndsOutOfLine&) = default;
    EndsOutOfLine(EndsOutOfLine&&) noexcept = default;
    EndsOutOfLine& operator=(const EndsOutOfLine&) = default;
    EndsOutOfLine& operator=(EndsOutOfLine&&) noexcept = default;
    // A T, and an object that is not const, would be taken for something to be called: never empty.
    EndsOutOfLine(const T& other) : T(other) {}                 // NOLINT(google-explicit-*)
    EndsOutOfLine(T& other) : T(std::as_const(other)) {}        // NOLINT(google-explicit-*)
    EndsOutOfLine(T&& other) noexcept : T(std::move(other)) {}  // NOLINT(google-explicit-*)
    EndsOutOfLine(EndsOutOfLine& other) : T(static_cast<const T&>(other)) {}
    // NOLINTNEXTLINE(misc-unconventional-assign-operator)
    EndsOutOfLine& operator=(EndsOutOfLine& other) {
        *this = std::as_const(other);
        return *this;
    }
    [[gnu::noinline]] ~EndsOutOfLine() {}  // NOLINT(*-use-equals-default): a defaulted one is inlined
};

}  // namespace detail

/// How long to wait between two attempts: the delay before attempt n + 1 is drawn evenly from zero to
/// min(cap, base × multiplier^(n-1)), so that contenders spread out (exponential backoff, full jitter).
struct RetryPolicy {
    /// Bound of the first delay; raised to twice the last round where that took longer. 1 ms to 1 h.
    std::chrono::milliseconds base{25};
    /// Bound of every delay. From base to 1 h.
    std::chrono::milliseconds cap{500};
    /// Growth of the bound from one attempt to the next. 1 (constant) to 100.
    double multiplier = 2.0;
    /// Attempts in one call; 0: as many as fit into LockOptions::wait.
    std::uint32_t max_attempts = 0;
    /// Replaces all of the above. Takes the number of attempts made and the last failure, and returns the
    /// delay before the next attempt (0 or less: at once), or nothing to give up. It is also called where the
    /// waiter expects a notice; a notice, and the end of the holder's lease, cut the delay short. Called on
    /// the thread that called lock(), with no lock held; it may take its time, and may call the same Redlock,
    /// for the same resource too. lock() throws what it throws. While it runs, other waiters of this process
    /// for the resource go first.
    /// Empty: as above.
    detail::EndsOutOfLine<
        std::function<std::optional<std::chrono::milliseconds>(std::uint32_t attempts, const Failure& last)>>
        decide{};

    void validate() const;
};

/// The options of one Redlock and all its locks.
struct Options {
    /// The deadline of a round: a node that has not answered by then has not voted. Should be small compared
    /// with the ttl and large compared with a round trip. 1 ms to 1 min.
    std::chrono::milliseconds node_timeout{50};
    /// Part of the ttl given up for clocks that run at different speeds. 0.01 covers about 5,000 ppm on
    /// each side (ntpd slews at 500 ppm; chrony's default maxslewrate of 83,333 ppm is beyond it). 0 to 0.5.
    double drift_factor = 0.01;
    /// Given up besides, since Redis counts the ttl in whole milliseconds. 0 to 1 min.
    std::chrono::milliseconds drift_floor{2};
    /// Fencing tokens: on unless switched off. Off, the plain SET NX PX is sent and the token is 0. All
    /// clients of one resource that use tokens must have it on.
    bool fencing = true;
    /// How long a node remembers a resource's fencing counter after its last use; longer than the leases, or
    /// it may forget one that is held. 1 s to 10 years.
    std::chrono::milliseconds fence_ttl = std::chrono::hours{24};
    /// What follows the name of a resource in the keys of its counter and of its queue, as in
    /// `{name}:redlock-fence`. All clients of a resource must have the same. 1 to 64 printable characters but
    /// for blanks and braces; two different ones. A value at these keys that is not in our form is left
    /// unchanged: a node with such a counter refuses, a node with such a queue notifies nobody.
    std::string fence_suffix = "redlock-fence";
    std::string queue_suffix = "redlock-queue";
    /// A node that restarted less than this ago does not vote in acquires, since it may have forgotten.
    /// Set it to the longest ttl in use where nodes do not fsync always. A node that does not permit INFO
    /// does not vote either. A new server reports its uptime in whole seconds, so one second less is counted.
    /// Where this machine's clocks differ, as after suspend, the slower one counts. 0: off. Up to 1 year.
    std::chrono::milliseconds restart_quarantine{0};
    /// A release notifies a waiter, which need not poll. Off, or where a node does not permit pub/sub,
    /// waiters use `retry` alone. All clients of a resource should have the same.
    bool notify = true;
    /// Between attempts of one call.
    RetryPolicy retry{};
    /// How long a connection may take to be made and logged in; all addresses of a host name together. A call
    /// that has to wait for its first connections waits no longer. 1 ms to 1 h.
    std::chrono::milliseconds connect_timeout{1000};
    /// Bounds of the delay before a node that could not be reached, or has not answered a request since, is
    /// tried again (it doubles, with jitter). 1 ms to 1 h.
    std::chrono::milliseconds reconnect_min{10};
    std::chrono::milliseconds reconnect_max{2000};
    /// Requests that may be unanswered at one node; past it the node votes `timeout` unasked. 16 to
    /// 1,000,000.
    std::uint32_t backlog = 4096;
    /// The name that CLIENT LIST shows. No blanks or control characters; empty: no name is set.
    std::string client_name = "redlock";

    /// The same object for all: a temporary in every caller's frame makes g++ 12 warn at -O3.
    [[nodiscard]] static const Options& defaults();

    /// Throws std::invalid_argument that names the field, its value and what is allowed.
    void validate() const;
};

/// The options of one call of lock().
struct LockOptions {
    /// The lease asked of the nodes. More than the drift, up to 1 year.
    std::chrono::milliseconds ttl = std::chrono::seconds{10};
    /// How long to go on trying; a last attempt is cut short at its end. 0: one attempt. Up to 10 years;
    /// `forever`: until a stop is requested.
    std::chrono::milliseconds wait{0};
    /// Extend the lease in the background until it is unlocked.
    bool renew = false;
    /// The longest that renewal may make a lease last, counted from its acquisition; then lost() is
    /// triggered and it runs out. At least the ttl; `forever`: no limit.
    std::chrono::milliseconds renew_limit = std::chrono::hours{1};
    /// Ends the wait at once when a stop is requested.
    std::stop_token stop{};
    /// How much of the wait may pass while no quorum of the nodes answers, from the beginning of the first
    /// attempt that none answers, which this does not cut short. 0: that attempt is the last. Up to 10 years;
    /// `forever`: all of the wait.
    std::chrono::milliseconds wait_unreachable = forever;
};

}  // namespace redlock::inline v0_1

#ifndef REDLOCK_COMPILED
#include "redlock/impl/options.hpp"
#endif

// SPDX-License-Identifier: Apache-2.0
// Lock: owning a resource, for the length of a scope.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <span>
#include <stop_token>
#include <string>
#include <string_view>
#include <vector>

#include "redlock/clock.hpp"
#include "redlock/fwd.hpp"
#include "redlock/handoff.hpp"
#include "redlock/result.hpp"
#include "redlock/system/ref.hpp"
#include "redlock/token.hpp"

namespace redlock::inline v0_1 {

namespace detail {
template <class Transport, class Clock>
inline constexpr bool is_held_by_scope<BasicLock<Transport, Clock>> = true;
}

/// Owns one lease: unlocks at the end of its scope. Move-only.
///
/// What each call does in each state (`held` includes renewing; `expired`: the validity has ended):
///
///   |             | held                 | expired or lost | unlocked or moved-from |
///   |-------------|----------------------|-----------------|------------------------|
///   | owns_lock() | true                 | false           | false                  |
///   | remaining() | > 0                  | 0               | 0                      |
///   | lost()      | not triggered        | triggered       | as it was; none when moved-from |
///   | extend()    | a round              | errc::lost      | errc::lost             |
///   | unlock()    | a round              | releases, errc::lost | errc::lost        |
///   | detach()    | the hand-over        | empty           | empty                  |
///   | destructor  | unlock()             | releases        | nothing                |
///
/// One Lock may be used by several threads at once, but for moving and destroying it. It may outlive the
/// Redlock it came from. In a forked child it owns nothing, and its calls fail with errc::invalid_argument.
template <class Transport, class Clock>
class BasicLock {
    using ClientPtr = std::shared_ptr<detail::Client<Transport, Clock>>;
    using LeasePtr = detail::Ref<detail::Lease<typename Clock::time_point>>;

   public:
    using time_point = typename Clock::time_point;

    BasicLock() noexcept;
    BasicLock(ClientPtr client, LeasePtr lease) noexcept;
    BasicLock(BasicLock&&) noexcept;
    BasicLock& operator=(BasicLock&& other) noexcept;
    BasicLock(const BasicLock&) = delete;
    BasicLock& operator=(const BasicLock&) = delete;

    /// Unlocks, as unlock() does. Keys whose release is not confirmed, or not sent because memory ran out,
    /// end by the ttl. Blocks at most node_timeout.
    ~BasicLock();

    /// The resource; of several, the first. Empty when moved-from.
    [[nodiscard]] std::string_view resource() const noexcept;
    [[nodiscard]] std::span<const std::string> resources() const noexcept;

    /// The value that proves ownership on the nodes. Keep it out of logs: whoever knows it can unlock.
    [[nodiscard]] const Token& token() const noexcept;

    /// The number that the guarded resource checks; of several resources, that of the first. 0: without
    /// fencing.
    [[nodiscard]] std::uint64_t fencing_token() const noexcept;
    /// The fencing token of one of the resources; 0: it is none of them, or without fencing.
    [[nodiscard]] std::uint64_t fencing_token(std::string_view resource) const noexcept;

    /// Whether the lease is held and valid at this moment. Local: no I/O, never blocks.
    [[nodiscard]] bool owns_lock() const noexcept { return remaining().count() > 0; }
    [[nodiscard]] explicit operator bool() const noexcept { return owns_lock(); }

    /// The time left of the validity; 0 when there is none. Local: no I/O, never blocks.
    [[nodiscard]] std::chrono::nanoseconds remaining() const noexcept;

    /// When the validity ends unless it is extended, on the clock that leases are measured in.
    [[nodiscard]] time_point expires_at() const noexcept;

    /// Triggered when the right to act ends other than by unlock(): the validity is over, by a local timer
    /// that needs no network, or a quorum says that the lock is not ours. Callbacks run on a thread of the
    /// library with none of its locks held; they may call whatever they like, the same Redlock too, but
    /// should be brief, for renewals of other locks wait meanwhile. They must not throw. No destructor of
    /// ours waits for one that runs; that of its std::stop_callback does. Starts that thread if it does not
    /// run yet; throws std::system_error where it cannot. After the machine was suspended it comes within a
    /// second of the resume; owns_lock() and remaining() are right at once.
    [[nodiscard]] std::stop_token lost() const;

    /// Makes the lease last `ttl` from now, if a quorum still holds it for us; one round trip, blocks at
    /// most node_timeout, and connect_timeout more where connections have to be made for it. Success means
    /// that it lasts that long, whatever other threads and renewal asked for before: extensions of one lease
    /// come one after another, and the last one counts. errc::lost: a quorum says no, or the validity had
    /// ended. errc::unknown: it may or may not have happened, the old deadline stands (lowered, where the new
    /// one is sooner); or another extension was under way all that time, and nothing was sent.
    /// errc::invalid_argument: a ttl that leaves no validity. Throws std::bad_alloc where memory runs out; it
    /// may or may not have happened then.
    [[nodiscard]] Result<void> extend(std::chrono::milliseconds ttl);

    /// Deletes the keys on all nodes, and returns when a quorum has answered; blocks at most node_timeout,
    /// and connect_timeout more where connections have to be made for it, as Redlock says. errc::lost: it was
    /// not ours any more. errc::unknown: no quorum confirmed it, or memory ran out before it was sent; the
    /// keys that are left end by the ttl. In every case this Lock owns nothing afterwards.
    Result<void> unlock() noexcept;

    /// Gives up ownership without unlocking: the keys stay until the ttl ends, or until the client that
    /// adopts the hand-over unlocks. No round trip; blocks shortly when other threads are driving. The result
    /// is empty when this Lock owns nothing, or its validity is over; keys that may be left are then
    /// released. An extension that made the lease shorter may reach some node late. After one, the result has
    /// no fencing tokens, so that the adopting client takes new ones; where fencing is off it is empty, and
    /// this Lock goes on holding.
    Handoff detach();

    /// The vote of each node on the acquisition, including late votes. Blocks shortly when other threads are
    /// driving.
    [[nodiscard]] std::vector<NodeReport> nodes() const;

   private:
    ClientPtr client_;
    LeasePtr lease_;
};

}  // namespace redlock::inline v0_1

#ifdef REDLOCK_COMPILED
extern template class redlock::BasicLock<redlock::hiredis::Transport, redlock::LeaseClock>;
#else
#include "redlock/impl/lock.hpp"
#endif

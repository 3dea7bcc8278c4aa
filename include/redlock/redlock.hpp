// SPDX-License-Identifier: Apache-2.0
// Redlock: mutual exclusion between processes over N independent Redis masters.
#pragma once

#include <chrono>
#include <concepts>
#include <initializer_list>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "redlock/clock.hpp"
#include "redlock/endpoint.hpp"
#include "redlock/fwd.hpp"
#include "redlock/handoff.hpp"
#include "redlock/inspect.hpp"
#include "redlock/lock.hpp"
#include "redlock/options.hpp"
#include "redlock/result.hpp"
#include "redlock/version.hpp"

namespace redlock::inline v0_1 {

/// What to lock: one resource, or up to 1,024 taken together, all or none. A name has 1 to 65,536 bytes, all
/// names of a lock at most 1 MiB. Converts from a string, a brace list of strings and any range of strings.
class Resources {
    /// A name in a brace list: unlike a std::string it cannot be made of two pointers.
    struct Name {
        template <detail::StringLike String>
        Name(const String& name) : text{name} {}  // NOLINT(google-explicit-constructor)
        std::string_view text;
    };

   public:
    template <detail::StringLike String>
    Resources(const String& name) : names_{std::string{std::string_view{name}}} {}  // NOLINT

    Resources(std::initializer_list<Name> names) {
        for (const Name& name : names) names_.emplace_back(name.text);
    }

    template <detail::RangeOf<std::string_view> Range>
    Resources(const Range& names) {  // NOLINT(google-explicit-constructor)
        for (const auto& name : names) names_.emplace_back(std::string_view{name});
    }

    [[nodiscard]] const std::vector<std::string>& names() const noexcept { return names_; }

   private:
    std::vector<std::string> names_;
};

/// Mutual exclusion between processes over N independent Redis or Valkey masters.
///
/// Thread-safe, but for moving and destroying it: one Redlock serves all threads of a process. It connects
/// when it is first used, and a node that is down or hung costs its vote and no time as long as a quorum
/// answers.
///
///   | call       | blocks at most                      | fails with invalid_argument, or |
///   |------------|-------------------------------------|---------------------------------|
///   | try_lock() | node_timeout                        | contended, unreachable,         |
///   |            |                                     | too_slow                        |
///   | lock()     | the larger of wait and node_timeout | the same, cancelled             |
///   | adopt()    | node_timeout; twice that by the     | lost, unknown, too_slow         |
///   |            | token alone                         |                                 |
///   | inspect()  | node_timeout                        | –                               |
///   | destructor | node_timeout                        | –                               |
///
/// A call that finds fewer than a quorum of the nodes connected first waits for connections that are being
/// made to nodes of which no trouble is known: the first call of a process, or one after the nodes have
/// closed idle connections. That takes at most connect_timeout, and in lock() at most `wait`; its time as
/// above, and the validity, count from then. The destructor does not wait for that.
///
///   | state                  | every call                        | destructor                  |
///   |------------------------|-----------------------------------|-----------------------------|
///   | no quorum to be had    | as above                          | as above                    |
///   | moved from             | errc::invalid_argument            | nothing                     |
///   | in a forked child      | errc::invalid_argument; touches   | closes the child's copies   |
///   |                        | nothing: make another one there   | of the sockets              |
///   | its Locks outlive it   | –                                 | nothing; the last Lock's is |
///   |                        |                                   | as above                    |
///
/// There is no I/O thread: a waiting thread does the I/O for all. A thread that is stopped while it processes
/// replies, or holds a mutex of the library, delays the others until it runs again. A thread that is
/// cancelled (pthread_cancel) within a call ends the process.
///
/// Time is measured on `Clock`; nodes are reached through `Transport`. Where memory runs out, a call throws
/// std::bad_alloc, and keys that it was granted end by their ttl; Lock::unlock() and destructors give up
/// instead. Where memory runs out while a thread writes to the nodes and reads from them, for its own call or
/// for others, the process ends (std::terminate), since no other thread would do this I/O.
template <class Transport, class Clock>
class BasicRedlock {
   public:
    using lock_type = BasicLock<Transport, Clock>;

    /// Redlock{{"redis://a", "redis://b"}}, Redlock{"redis://a,redis://b"} or any range of URIs. Throws
    /// std::invalid_argument for what can never work: no nodes, the same node twice, a bad URI, an option
    /// out of its range; std::system_error where the process has no file descriptor left. Connects to nothing
    /// yet, and never blocks.
    explicit BasicRedlock(const Endpoints& nodes, const Options& options = Options::defaults());

    /// For Redlock({"redis://a", "redis://b"}), which without this would copy a Redlock made of that list.
    /// The empty pack keeps it from being an initializer-list constructor, which overload resolution tries
    /// first: the second brace list is always the options, and g++ 12 would take `{.client_name = "x"}` for a
    /// URI.
    template <class... Nothing>
    // NOLINTNEXTLINE(google-explicit-constructor): a list of URIs is not turned into a Redlock unasked
    requires(sizeof...(Nothing) == 0) explicit BasicRedlock(std::initializer_list<Endpoints::Item> nodes,
                                                            const Nothing&... /*unused*/)
        : BasicRedlock{Endpoints{nodes}, Options::defaults()} {}

    /// Redlock{"redis://a", "redis://b"}: strings and ranges, all taken together.
    template <detail::NodesLike... More>
    requires(sizeof...(More) > 0) explicit BasicRedlock(const Endpoints& nodes, const More&... more)
        : BasicRedlock{Endpoints::all_of({nodes, Endpoints{more}...}), Options::defaults()} {}

    /// With a transport of your own, as in tests.
    explicit BasicRedlock(std::unique_ptr<Transport> transport, const Options& options = Options::defaults(),
                          Clock clock = {});

    BasicRedlock(BasicRedlock&&) noexcept = default;
    BasicRedlock& operator=(BasicRedlock&& other) noexcept;
    BasicRedlock(const BasicRedlock&) = delete;
    BasicRedlock& operator=(const BasicRedlock&) = delete;
    /// Calls that have begun on other threads go on, but a lock() that waits ends with errc::cancelled. Its
    /// Locks stay. Does not wait for a callback of lost() that runs, which may go on when this has returned.
    ~BasicRedlock();

    /// One attempt: one round trip, whatever the number of nodes.
    [[nodiscard]] Result<lock_type> try_lock(const Resources& resources, std::chrono::milliseconds ttl);

    /// Attempts until one succeeds, `wait` is over or a stop is requested. Between attempts it waits for the
    /// notice of a release, and otherwise by Options::retry. Throws what RetryPolicy::decide throws, which
    /// may also take longer than `wait`; and with `renew` std::system_error where no thread can be had for
    /// it.
    [[nodiscard]] Result<lock_type> lock(const Resources& resources, const LockOptions& how = {});

    /// Goes on holding what another Lock, here or in another process, gave up by detach(): verifies at a
    /// quorum that its token still holds, and makes the lease last `ttl` from now. One round trip, blocks at
    /// most node_timeout. errc::lost: a quorum says that it is not held by that token; errc::unknown: too
    /// few answered.
    [[nodiscard]] Result<lock_type> adopt(const Handoff& handoff, std::chrono::milliseconds ttl);

    /// The same, and renews it where that is asked for: then it throws std::system_error where no thread can
    /// be had for that. Of the options ttl, renew and renew_limit count.
    [[nodiscard]] Result<lock_type> adopt(const Handoff& handoff, const LockOptions& how);

    /// The same with the token alone, as another Redlock client may have handed it over. Where fencing is
    /// on it gets a fencing token of its own: at most three round trips in all, blocks at most two
    /// node_timeouts.
    [[nodiscard]] Result<lock_type> adopt(const Resources& resources, const Token& token,
                                          std::chrono::milliseconds ttl);
    [[nodiscard]] Result<lock_type> adopt(const Resources& resources, const Token& token,
                                          const LockOptions& how);

    /// The current state of a resource on the nodes; takes no lock and changes nothing. Waits for every node
    /// that is connected, at most node_timeout.
    [[nodiscard]] Result<Inspection> inspect(std::string_view resource);

   private:
    friend class BasicMutex<Transport, Clock>;

    std::shared_ptr<detail::Client<Transport, Clock>> client_;
};

template <class Transport>
BasicRedlock(std::unique_ptr<Transport>, const Options& = {}) -> BasicRedlock<Transport, LeaseClock>;

}  // namespace redlock::inline v0_1

#ifdef REDLOCK_COMPILED
extern template class redlock::BasicRedlock<redlock::hiredis::Transport, redlock::LeaseClock>;
#else
#include "redlock/impl/redlock.hpp"
#endif

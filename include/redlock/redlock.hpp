// SPDX-License-Identifier: Apache-2.0
// Redlock: mutual exclusion between processes over N independent Redis masters.
#pragma once

#include <algorithm>
#include <chrono>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "redlock/clock.hpp"
#include "redlock/endpoint.hpp"
#include "redlock/handoff.hpp"
#include "redlock/hiredis/transport.hpp"
#include "redlock/impl/client.hpp"
#include "redlock/inspect.hpp"
#include "redlock/lock.hpp"
#include "redlock/options.hpp"
#include "redlock/result.hpp"
#include "redlock/version.hpp"
#include "redlock/voting/claim.hpp"

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

template <class Transport, class Clock>
class BasicMutex;

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
/// There is no I/O thread: whoever waits does the I/O for all. A thread that is kept from running while it
/// deals with replies, or in a mutex of ours, delays the others until it runs again. One that is cancelled
/// (pthread_cancel) within a call ends the process.
///
/// Time is measured on `Clock`; nodes are reached through `Transport`. Where memory runs out, a call throws
/// std::bad_alloc, and what it was given ends by its ttl; Lock::unlock() and destructors give up instead.
/// Where it runs out while a thread writes to the nodes and reads from them, for its own call or for others,
/// the process ends (std::terminate): nobody would do it for those others.
template <class Transport, class Clock>
class BasicRedlock {
   public:
    using lock_type = BasicLock<Transport, Clock>;

    /// Redlock{{"redis://a", "redis://b"}}, Redlock{"redis://a,redis://b"} or any range of URIs. Throws
    /// std::invalid_argument for what can never work: no nodes, the same node twice, a bad URI, an option
    /// out of its range; std::system_error where the process has no file descriptor left. Connects to nothing
    /// yet, and never blocks.
    explicit BasicRedlock(const Endpoints& nodes, const Options& options = Options::defaults())
        : BasicRedlock{std::make_unique<Transport>(nodes.list(), validated(options)), options} {}

    /// Redlock({"redis://a", "redis://b"}), which is no copy of one made of that list. The empty pack keeps
    /// it from being an initializer-list constructor, which would be asked before all others: the second
    /// brace list is always the options, and g++ 12 would take `{.client_name = "x"}` for one more URI.
    template <class... Nothing>
    // NOLINTNEXTLINE(google-explicit-constructor): a list of URIs is not turned into a Redlock unasked
    requires(sizeof...(Nothing) == 0) explicit BasicRedlock(std::initializer_list<Endpoints::Item> nodes,
                                                            const Nothing&... /*unused*/)
        : BasicRedlock{Endpoints{nodes}, Options::defaults()} {}

    /// Redlock{"redis://a", "redis://b"}: strings and ranges, all taken together.
    template <detail::NodesLike... More>
    requires(sizeof...(More) > 0) explicit BasicRedlock(const Endpoints& nodes, const More&... more)
        : BasicRedlock{Endpoints::all_of({nodes, Endpoints{more}...}), Options::defaults()} {}

    /// With a transport of one's own, as tests have.
    explicit BasicRedlock(std::unique_ptr<Transport> transport, const Options& options = Options::defaults(),
                          Clock clock = {})
        : client_{ClientType::make(std::move(transport), std::move(clock), validated(options))} {}

    BasicRedlock(BasicRedlock&&) noexcept = default;
    BasicRedlock& operator=(BasicRedlock&& other) noexcept {
        BasicRedlock taken{std::move(other)};
        std::swap(client_, taken.client_);
        return *this;
    }
    BasicRedlock(const BasicRedlock&) = delete;
    BasicRedlock& operator=(const BasicRedlock&) = delete;
    /// Calls that have begun on other threads go on, but a lock() that waits ends with errc::cancelled. Its
    /// Locks stay. Does not wait for a callback of lost() that runs, which may go on when this has returned.
    ~BasicRedlock() {
        if (client_) client_->close();
    }

    /// One attempt: one round trip, whatever the number of nodes.
    [[nodiscard]] Result<lock_type> try_lock(const Resources& resources, std::chrono::milliseconds ttl) {
        return lock(resources, {.ttl = ttl});
    }

    /// Attempts until one succeeds, `wait` is over or a stop is requested. Between attempts it waits to be
    /// called by a release, and otherwise by Options::retry. Throws what RetryPolicy::decide throws, which
    /// may also take longer than `wait`; and with `renew` std::system_error where no thread can be had for
    /// it.
    [[nodiscard]] Result<lock_type> lock(const Resources& resources, const LockOptions& how = {}) {
        if (auto bad = check(resources, how)) return *std::move(bad);
        const auto client = client_;  // for the length of the call, though this may be destroyed beneath it
        return locked(client, client->acquire(claim_of(resources), how));
    }

    /// Goes on holding what another Lock, here or in another process, gave up by detach(): verifies at a
    /// quorum that its token still holds, and makes the lease last `ttl` from now. One round trip, blocks at
    /// most node_timeout. errc::lost: a quorum says that it is not held by that token; errc::unknown: too
    /// few answered.
    [[nodiscard]] Result<lock_type> adopt(const Handoff& handoff, std::chrono::milliseconds ttl) {
        return adopt(handoff, {.ttl = ttl});
    }

    /// The same, and renews it where that is asked for: then it throws std::system_error where no thread can
    /// be had for that. Of the options ttl, renew and renew_limit count.
    [[nodiscard]] Result<lock_type> adopt(const Handoff& handoff, const LockOptions& how) {
        return adopt(Resources{handoff.resources}, handoff.token, how, handoff.fencing_tokens);
    }

    /// The same with the token alone, as another Redlock client may have handed it over. Where fencing is
    /// on it gets a fencing token of its own: at most three round trips in all, blocks at most two
    /// node_timeouts.
    [[nodiscard]] Result<lock_type> adopt(const Resources& resources, const Token& token,
                                          std::chrono::milliseconds ttl) {
        return adopt(resources, token, {.ttl = ttl}, {});
    }

    /// What the nodes say of a resource now; takes no lock and changes nothing. Waits for every node that
    /// is connected, at most node_timeout.
    [[nodiscard]] Result<Inspection> inspect(std::string_view resource) {
        if (auto bad = check(Resources{resource}, {})) return *std::move(bad);
        const auto client = client_;
        return client->inspect(std::string{resource});
    }

   private:
    using ClientType = detail::Client<Transport, Clock>;
    friend class BasicMutex<Transport, Clock>;

    [[nodiscard]] Result<lock_type> adopt(const Resources& resources, const Token& token,
                                          const LockOptions& how,
                                          const std::vector<std::uint64_t>& fencing_tokens) {
        if (auto bad = check(resources, how)) return *std::move(bad);
        if (token.str().empty()) return Failure{errc::invalid_argument, "the token is empty"};
        std::vector<std::int64_t> fences;
        for (const std::uint64_t fence : fencing_tokens) {
            if (fence == 0 || fence > fencing_token_max) {
                return Failure{errc::invalid_argument,
                               "the fencing token is " + std::to_string(fence) + ", not from 1 to 2^53 - 1"};
            }
            if (client_->options().fencing) fences.push_back(static_cast<std::int64_t>(fence));
        }
        if (!fences.empty() && fences.size() != resources.names().size()) {
            return Failure{errc::invalid_argument, "there is not one fencing token per resource"};
        }
        const auto client = client_;
        return locked(client, client->adopt(claim_of(resources), token, std::move(fences), how));
    }

    template <class Lease>
    [[nodiscard]] static Result<lock_type> locked(std::shared_ptr<ClientType> client, Result<Lease> lease) {
        if (!lease) return std::move(lease).error();
        return lock_type{std::move(client), *std::move(lease)};
    }

    [[nodiscard]] std::shared_ptr<const detail::Claim> claim_of(const Resources& resources) const {
        const Options& options = client_->options();
        auto claim = std::make_shared<detail::Claim>();
        claim->resources = resources.names();
        for (const std::string& name : claim->resources) {
            if (options.fencing) claim->counters.push_back(detail::fence_key(name, options.fence_suffix));
            if (options.notify) claim->queues.push_back(detail::queue_key(name, options.queue_suffix));
        }
        return claim;
    }

    [[nodiscard]] static const Options& validated(const Options& options) {
        options.validate();
        return options;
    }

    [[nodiscard]] typename Clock::time_point now() const {
        return client_ ? client_->now() : typename Clock::time_point{};
    }

    [[nodiscard]] std::optional<Failure> check(const Resources& resources, const LockOptions& how) const {
        using namespace std::chrono_literals;
        const auto bad = [](std::string what) { return Failure{errc::invalid_argument, std::move(what)}; };
        if (!client_) return bad("this Redlock was moved from");
        if (client_->is_forked()) return ClientType::after_fork();
        if (auto bad_names = check(resources.names())) return bad_names;
        for (const auto& [name, wait] :
             {std::pair{"wait", how.wait}, std::pair{"wait_unreachable", how.wait_unreachable}}) {
            if (wait >= 0ms && (wait <= 87'600h || wait == forever)) continue;
            return bad(std::string{name} + " is " + std::to_string(wait.count()) +
                       " ms, but must be 0, up to ten years, or redlock::forever");
        }
        if (how.renew_limit < (how.renew ? how.ttl : 0ms)) {
            return bad("renew_limit is " + std::to_string(how.renew_limit.count()) +
                       " ms, but must be at least the ttl of " + std::to_string(how.ttl.count()) + " ms");
        }
        return client_->check_ttl(how.ttl);
    }

    /// The numbers before the names, and these not each with each: a script that takes too many would keep
    /// its node from all others.
    [[nodiscard]] static std::optional<Failure> check(const std::vector<std::string>& names) {
        const auto bad = [](std::string what) { return Failure{errc::invalid_argument, std::move(what)}; };
        const auto too_large = [&](const std::string& what, std::size_t value, const char* unit,
                                   std::size_t limit) {
            return bad(what + std::to_string(value) + unit + ", but may have " + std::to_string(limit));
        };
        if (names.empty()) return bad("the list of resources is empty");
        if (names.size() > most_names) {
            return too_large("the list of resources has ", names.size(), " names", most_names);
        }
        std::size_t bytes = 0;
        for (const std::string& name : names) {
            if (name.empty()) return bad("a resource has an empty name");
            if (name.size() > longest_name) {
                return too_large("a resource's name has ", name.size(), " bytes", longest_name);
            }
            bytes += name.size();
        }
        if (bytes > most_bytes) {
            return too_large("the names of the resources have ", bytes, " bytes in all", most_bytes);
        }
        if (names.size() == 1) return std::nullopt;
        std::vector<std::string_view> sorted{names.begin(), names.end()};
        std::sort(sorted.begin(), sorted.end());
        const auto twice = std::adjacent_find(sorted.begin(), sorted.end());
        if (twice != sorted.end()) return bad(detail::in_quotes(*twice) + " is there twice");
        return std::nullopt;
    }

    static constexpr std::size_t longest_name = std::size_t{64} << 10U;
    static constexpr std::size_t most_names = 1024;
    static constexpr std::size_t most_bytes = std::size_t{1} << 20U;

    std::shared_ptr<ClientType> client_;
};

template <class Transport>
BasicRedlock(std::unique_ptr<Transport>, const Options& = {}) -> BasicRedlock<Transport, LeaseClock>;

/// On hiredis, by the clock that counts suspended time.
using Redlock = BasicRedlock<hiredis::Transport, LeaseClock>;

}  // namespace redlock::inline v0_1

// SPDX-License-Identifier: Apache-2.0
// The fact of holding: resources, token, fencing tokens, and until when.
#pragma once

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <mutex>
#include <optional>
#include <stop_token>
#include <utility>
#include <vector>

#include "redlock/engine/round.hpp"
#include "redlock/engine/timers.hpp"
#include "redlock/options.hpp"
#include "redlock/system/ref.hpp"
#include "redlock/token.hpp"
#include "redlock/voting/claim.hpp"
#include "redlock/voting/quorum.hpp"

namespace redlock::inline v0_1::detail {

/// How the holder's right stands. Only `held` may still act, and only before valid_until.
enum class Hold : std::uint8_t { held, lost, released };

/// What became of the beginning of an extension.
enum class ExtensionStart : std::uint8_t {
    begun,     ///< it is the one under way, until it is ended
    busy,      ///< another one is under way
    needless,  ///< the lease lasts long enough already
    over,      ///< it is not held any more
};

/// Whose turn it is to extend a lease.
enum class ExtensionTurn : std::uint8_t {
    free,     ///< no extension is under way, and none waits
    taken,    ///< one is under way
    offered,  ///< one has ended, and the first of the queue may begin; the driver sees to it before all else
};

/// One call to extend.
template <class TimePoint>
struct Extension {
    std::optional<std::chrono::milliseconds> wanted;  ///< none: what a renewal gives when its turn comes
    TimePoint asked{};                                ///< when the call came
    TimePoint latest{};                               ///< when it must be over
    Ref<Suspended<TimePoint>> in_queue{};             ///< null: it did not have to wait for its turn

    // Once it has begun.
    std::chrono::milliseconds ttl{};
    TimePoint started{};
    TimePoint end{};         ///< the end of the validity, if a quorum confirms it
    TimePoint until{};       ///< the end of the validity meanwhile
    bool is_sooner = false;  ///< it may make the lease shorter
};

/// Thread-safe, but for the queue of extensions: the holder's threads, the driver and the renewer use it.
///
/// Extensions run one after another (R33). Nobody knows which of two at once a node runs last, so neither
/// could promise that the lease lasts what was asked. An extension that finds another under way waits in a
/// queue, which belongs to the driver of the moment; so does the end of every extension.
template <class TimePoint>
class Lease : public TimerEntry<TimePoint> {
   public:
    using RoundPtr = Ref<Round<TimePoint>>;
    using VotesPtr = Ref<const Votes>;
    using SuspendedPtr = Ref<Suspended<TimePoint>>;

    /// What the renewer asks for, and the latest end of the validity.
    struct Renewal {
        std::chrono::milliseconds ttl;
        TimePoint limit;
    };

    Lease(Ref<const Claim> what, Token proof, std::vector<std::int64_t> fencing_tokens,
          const RoundPtr& acquire_round, TimePoint acquired, TimePoint until)
        : claim{std::move(what)},
          token{std::move(proof)},
          fences{std::move(fencing_tokens)},
          votes{acquire_round ? acquire_round->votes : nullptr},
          keys{acquire_round ? acquire_round->keys : nullptr},
          acquired_at{acquired},
          valid_until_{until} {}

    const Ref<const Claim> claim;
    const Token token;
    const std::vector<std::int64_t> fences;  ///< one per resource; empty without fencing
    const VotesPtr votes;                    ///< on the acquisition; late votes are still added
    const Ref<KeyRecords<TimePoint>> keys;
    const TimePoint acquired_at;

    std::optional<Renewal> renewal;  ///< set before the renewer has the lease

    // The renewer's, under its mutex, as is the timer: when the lease is due.
    bool is_renewing = false;

    [[nodiscard]] Hold hold() const {
        const std::lock_guard lock{mutex_};
        return hold_;
    }

    [[nodiscard]] TimePoint valid_until() const {
        const std::lock_guard lock{mutex_};
        return valid_until_;
    }

    /// What is left of the validity; zero or less: it is over, or the lease is not held any more.
    [[nodiscard]] std::chrono::nanoseconds remaining(TimePoint now) const {
        const std::lock_guard lock{mutex_};
        return hold_ == Hold::held ? -(now - valid_until_) : std::chrono::nanoseconds{0};
    }

    /// The ttl of a renewal at that time, so that the validity ends by the limit; none: it would gain
    /// nothing.
    [[nodiscard]] std::optional<std::chrono::milliseconds> renewal_ttl(TimePoint when,
                                                                       const Options& options) const {
        const std::lock_guard lock{mutex_};
        return gainful_ttl(when, options);
    }

    /// Before an extension is sent, and again when it has waited for its turn. Where the new end comes before
    /// the present one, that is lowered at once, since the request may run and its reply be lost.
    [[nodiscard]] ExtensionStart begin_extension(Extension<TimePoint>& extension, TimePoint now,
                                                 const Options& options) {
        const std::lock_guard lock{mutex_};
        if (hold_ != Hold::held || (now - valid_until_).count() >= 0) return ExtensionStart::over;
        const bool is_its_turn = turn_ == (extension.in_queue ? ExtensionTurn::offered : ExtensionTurn::free);
        if (!is_its_turn || (now - extension.latest).count() >= 0) return ExtensionStart::busy;
        const auto ttl = extension.wanted ? extension.wanted : gainful_ttl(now, options);
        if (!ttl) return ExtensionStart::needless;
        const std::chrono::nanoseconds validity = *ttl - drift_of(*ttl, options);
        const TimePoint end = now + validity;
        if (extension.in_queue && is_served(extension.asked, extension.asked + validity, end)) {
            return ExtensionStart::needless;
        }
        turn_ = ExtensionTurn::taken;
        extension.ttl = *ttl;
        extension.started = now;
        extension.end = end;
        extension.is_sooner = !(valid_until_ < end);
        was_shortened_ = was_shortened_ || extension.is_sooner;
        valid_until_ = std::min(valid_until_, extension.end);
        extension.until = valid_until_;
        return ExtensionStart::begun;
    }

    /// After its round, in a driver's turn; next_extension() must follow. True: the lease now lasts until the
    /// extension's end.
    bool end_extension(const Extension<TimePoint>& extension, bool carried, TimePoint now) {
        const std::lock_guard lock{mutex_};
        turn_ = ExtensionTurn::offered;
        if (!carried || hold_ != Hold::held || (now - valid_until_).count() >= 0) return false;
        valid_until_ = std::max(valid_until_, extension.end);
        confirmed_from_ = extension.started;
        return true;
    }

    /// Memory ran out before it was sent. The extensions in the queue wait until their time is over.
    void abandon_extension() noexcept {
        const std::lock_guard lock{mutex_};
        turn_ = ExtensionTurn::free;
    }

    // ---- the queue of extensions; in a driver's turn only -------------------------------------------

    void enqueue(const SuspendedPtr& extension) { extensions_.push_back(extension); }

    /// The one to resume: after an extension has ended, and again where the one that was resumed has not
    /// begun. Null: one is under way, or none waits.
    [[nodiscard]] SuspendedPtr next_extension() {
        const std::lock_guard lock{mutex_};
        if (turn_ != ExtensionTurn::offered) return nullptr;
        if (extensions_.empty()) {
            turn_ = ExtensionTurn::free;
            return nullptr;
        }
        SuspendedPtr next = std::move(extensions_.front());
        extensions_.erase(extensions_.begin());
        return next;
    }

    // ---- the end -----------------------------------------------------------------------------------

    /// From here on nothing extends it. Returns how it stood; only the first caller sees `held`.
    Hold begin_release(TimePoint now) {
        const std::lock_guard lock{mutex_};
        return end_hold(now);
    }

    /// The same, to hand the lease on. Nothing: it must not be handed on. An extension that shortens may
    /// still be on its way to a node, and would shorten the lease of the next holder; only a larger fencing
    /// token in the counter stops it there.
    std::optional<Hold> begin_hand_over(TimePoint now) {
        const std::lock_guard lock{mutex_};
        if (hold_ == Hold::held && was_shortened_ && fences.empty()) return std::nullopt;
        return end_hold(now);
    }

    /// Whether an extension shortened it. Then no fencing tokens are handed on, so that the next holder takes
    /// new ones.
    [[nodiscard]] bool was_shortened() const {
        const std::lock_guard lock{mutex_};
        return was_shortened_;
    }

    /// While it is locked no release begins. Not locked: the lease is not held.
    [[nodiscard]] std::unique_lock<std::mutex> lock_if_held() {
        std::unique_lock lock{mutex_};
        if (hold_ != Hold::held) lock.unlock();
        return lock;
    }

    /// The validity is over; tell_lost() must follow.
    void lose() {
        const std::lock_guard lock{mutex_};
        if (hold_ == Hold::held) hold_ = Hold::lost;
    }

    /// A quorum of the nodes says that it is not ours any more; the renewer tells.
    void revoke() {
        const std::lock_guard lock{mutex_};
        if (hold_ != Hold::held) return;
        hold_ = Hold::lost;
        was_revoked_ = true;
    }
    [[nodiscard]] bool was_revoked() const {
        const std::lock_guard lock{mutex_};
        return was_revoked_;
    }

    /// Triggers lost(), with no lock of ours held: the callbacks of users may call us.
    void tell_lost() {
        std::stop_source source{std::nostopstate};
        {
            const std::lock_guard lock{mutex_};
            source = lost_;
        }
        source.request_stop();
    }

    /// The token of lost(); its state is made when it is first asked for.
    [[nodiscard]] std::stop_token lost_token() {
        const std::lock_guard lock{mutex_};
        if (!lost_.stop_possible()) {
            lost_ = std::stop_source{};
            if (hold_ == Hold::lost) lost_.request_stop();
        }
        return lost_.get_token();
    }

    /// Keeps the votes on an extension, which late ones are still added to; returns those on the one before.
    VotesPtr exchange_last_extension(VotesPtr extension_votes) {
        const std::lock_guard lock{mutex_};
        return std::exchange(last_extension_, std::move(extension_votes));
    }

   private:
    // The next three with the mutex held.
    [[nodiscard]] std::optional<std::chrono::milliseconds> gainful_ttl(TimePoint when,
                                                                       const Options& options) const {
        if (!renewal) return std::nullopt;
        const std::chrono::nanoseconds to_limit = -(when - renewal->limit);
        const auto ttl = std::chrono::duration_cast<std::chrono::milliseconds>(
            std::min<std::chrono::nanoseconds>(renewal->ttl, to_limit));
        const auto gained = ttl - drift_of(ttl, options) - (valid_until_ - when);  // by either reading
        if (gained < std::chrono::milliseconds{1}) return std::nullopt;
        return ttl;
    }

    /// Whether another extension, begun after this one was asked for, has given what it asks: where many
    /// threads extend at once, one round serves all that wait by then. Not where this one is to shorten.
    [[nodiscard]] bool is_served(TimePoint asked, TimePoint least, TimePoint most) const {
        return confirmed_from_ && !(*confirmed_from_ < asked) && !(valid_until_ < least) &&
               !(most < valid_until_);
    }

    Hold end_hold(TimePoint now) {
        const bool is_over = (now - valid_until_).count() >= 0;
        const Hold before = std::exchange(hold_, Hold::released);
        return before == Hold::held && is_over ? Hold::lost : before;
    }

    mutable std::mutex mutex_;
    Hold hold_ = Hold::held;
    TimePoint valid_until_;
    bool was_shortened_ = false;
    bool was_revoked_ = false;
    ExtensionTurn turn_ = ExtensionTurn::free;
    std::optional<TimePoint> confirmed_from_;  ///< when the last confirmed extension began
    VotesPtr last_extension_;
    std::stop_source lost_{std::nostopstate};  ///< made when it is first asked for

    std::vector<SuspendedPtr> extensions_;  ///< the driver's: those that wait for their turn; seldom any
};

}  // namespace redlock::inline v0_1::detail

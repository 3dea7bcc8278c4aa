// SPDX-License-Identifier: Apache-2.0
// The fact of holding: resources, token, fencing tokens, and until when.
#pragma once

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <stop_token>
#include <utility>
#include <vector>

#include "redlock/engine/round.hpp"
#include "redlock/engine/timers.hpp"
#include "redlock/options.hpp"
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

/// Thread-safe, but for the line: the holder's threads, the driver and the keeper all look at it.
///
/// Extensions run one after another (R33). Of two under way at once nobody knows which a node runs last, so
/// neither could promise that the lease lasts what was asked. Who finds another under way waits in a line,
/// which belongs to the driver of the moment, as the end of every extension does.
template <class TimePoint>
class Lease : public TimerEntry<TimePoint> {
   public:
    using RoundPtr = std::shared_ptr<Round<TimePoint>>;
    using VotesPtr = std::shared_ptr<const std::vector<Ballot>>;
    using SuspendedPtr = std::shared_ptr<Suspended<TimePoint>>;

    /// One call to extend.
    struct Extension {
        std::optional<std::chrono::milliseconds> wanted;  ///< none: what a renewal gives at that time
        TimePoint asked{};                                ///< when the call came
        TimePoint latest{};                               ///< when it is to be over
        SuspendedPtr turn{};                              ///< where it had to wait for that

        // Once it is begun.
        std::chrono::milliseconds ttl{};
        TimePoint started{};
        TimePoint end{};         ///< what it would make the validity's end
        TimePoint until{};       ///< what that is meanwhile
        bool is_sooner = false;  ///< it may shorten
    };

    /// What the keeper is to renew it to, and until when.
    struct Renewal {
        std::chrono::milliseconds ttl;
        TimePoint limit;
    };

    Lease(std::shared_ptr<const Claim> what, Token proof, std::vector<std::int64_t> fencing_tokens,
          const RoundPtr& acquire_round, TimePoint acquired, TimePoint until)
        : claim{std::move(what)},
          token{std::move(proof)},
          fences{std::move(fencing_tokens)},
          votes{acquire_round ? acquire_round->votes : nullptr},
          keys{acquire_round ? acquire_round->keys : nullptr},
          acquired_at{acquired},
          valid_until_{until} {}

    const std::shared_ptr<const Claim> claim;
    const Token token;
    const std::vector<std::int64_t> fences;  ///< one per resource; empty without fencing
    const VotesPtr votes;                    ///< on the acquisition; they go on coming in
    const std::shared_ptr<KeyRecords<TimePoint>> keys;
    const TimePoint acquired_at;

    std::optional<Renewal> renewal;  ///< set before the keeper gets it

    // The keeper's, under its mutex, as is the timer: when to look at the lease next.
    bool is_renewing = false;

    [[nodiscard]] Hold hold() const {
        const std::lock_guard lock{mutex_};
        return hold_;
    }

    [[nodiscard]] TimePoint valid_until() const {
        const std::lock_guard lock{mutex_};
        return valid_until_;
    }

    /// What is left of the validity; zero or less: nothing, or it is not held any more.
    [[nodiscard]] std::chrono::nanoseconds remaining(TimePoint now) const {
        const std::lock_guard lock{mutex_};
        return hold_ == Hold::held ? -(now - valid_until_) : std::chrono::nanoseconds{0};
    }

    /// What to renew to at some time so that the validity ends by the limit; none: it would gain nothing.
    [[nodiscard]] std::optional<std::chrono::milliseconds> renewal_ttl(TimePoint when,
                                                                       const Options& options) const {
        const std::lock_guard lock{mutex_};
        return gainful_ttl(when, options);
    }

    /// Before an extension is sent: by who has not waited, or whose turn has come. Where the new end comes
    /// before the present one, that is lowered at once, since the request may run and its reply be lost.
    [[nodiscard]] ExtensionStart begin_extension(Extension& extension, TimePoint now,
                                                 const Options& options) {
        const std::lock_guard lock{mutex_};
        if (hold_ != Hold::held || (now - valid_until_).count() >= 0) return ExtensionStart::over;
        const bool is_its_turn = turn_ == (extension.turn ? Turn::called : Turn::free);
        if (!is_its_turn || (now - extension.latest).count() >= 0) return ExtensionStart::busy;
        const auto ttl = extension.wanted ? extension.wanted : gainful_ttl(now, options);
        if (!ttl) return ExtensionStart::needless;
        const std::chrono::nanoseconds validity = *ttl - drift_of(*ttl, options);
        const TimePoint end = now + validity;
        if (extension.turn && is_served(extension.asked, extension.asked + validity, end)) {
            return ExtensionStart::needless;
        }
        turn_ = Turn::taken;
        extension.ttl = *ttl;
        extension.started = now;
        extension.end = end;
        extension.is_sooner = !(valid_until_ < end);
        was_shortened_ = was_shortened_ || extension.is_sooner;
        valid_until_ = std::min(valid_until_, extension.end);
        extension.until = valid_until_;
        return ExtensionStart::begun;
    }

    /// After its round, in a driver's turn; who is next in line must be called then. True: the lease now
    /// lasts until the extension's end.
    bool end_extension(const Extension& extension, bool carried, TimePoint now) {
        const std::lock_guard lock{mutex_};
        turn_ = Turn::called;
        if (!carried || hold_ != Hold::held || (now - valid_until_).count() >= 0) return false;
        valid_until_ = std::max(valid_until_, extension.end);
        confirmed_from_ = extension.started;
        return true;
    }

    /// For want of memory it was never sent. Who waits in the line meanwhile waits until its time is over.
    void abandon_extension() noexcept {
        const std::lock_guard lock{mutex_};
        turn_ = Turn::free;
    }

    // ---- the line; in a driver's turn only ---------------------------------------------------------

    void line_up(const SuspendedPtr& wait) { stream_.push_back(wait); }

    /// Whose turn it is: after an extension has ended, and again where the one that was called has not begun
    /// another. Nobody: one is under way, or none is wanted.
    [[nodiscard]] SuspendedPtr next_in_line() {
        const std::lock_guard lock{mutex_};
        if (turn_ != Turn::called) return nullptr;
        if (stream_.empty()) {
            turn_ = Turn::free;
            return nullptr;
        }
        SuspendedPtr next = std::move(stream_.front());
        stream_.erase(stream_.begin());
        return next;
    }

    // ---- the end -----------------------------------------------------------------------------------

    /// From here on nothing extends it. Returns how it stood; the first caller alone sees `held`.
    Hold begin_release(TimePoint now) {
        const std::lock_guard lock{mutex_};
        return end_hold(now);
    }

    /// The same, for who hands it on. Nothing: it must not be handed on. An extension that shortens may still
    /// be on its way to a node, and would cut short what the next holder has; only a larger fencing token in
    /// the counter stops it there.
    std::optional<Hold> begin_hand_over(TimePoint now) {
        const std::lock_guard lock{mutex_};
        if (hold_ == Hold::held && was_shortened_ && fences.empty()) return std::nullopt;
        return end_hold(now);
    }

    /// By an extension: who hands it on hands on no fencing tokens, so that the next holder takes new ones.
    [[nodiscard]] bool was_shortened() const {
        const std::lock_guard lock{mutex_};
        return was_shortened_;
    }

    /// Runs `action` only while it is held, and with no release beginning meanwhile.
    template <class Action>
    void while_held(Action action) {
        const std::lock_guard lock{mutex_};
        if (hold_ == Hold::held) action();
    }

    /// The right has ended; whoever watches the lease then tells.
    void lose() {
        const std::lock_guard lock{mutex_};
        if (hold_ == Hold::held) hold_ = Hold::lost;
    }

    /// The same, since a quorum of the nodes says that it is not ours any more.
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

    /// Triggers lost(), with no lock of ours held: what users hang on it may call us.
    void tell_lost() {
        std::optional<std::stop_source> source;
        {
            const std::lock_guard lock{mutex_};
            source = lost_;
        }
        if (source) source->request_stop();
    }

    /// The token of lost(); its state is made when it is first asked for.
    [[nodiscard]] std::stop_token lost_token() {
        const std::lock_guard lock{mutex_};
        if (!lost_) {
            lost_.emplace();
            if (hold_ == Hold::lost) lost_->request_stop();
        }
        return lost_->get_token();
    }

    /// The nodes that may lack the lease: those that said so to the last extension, also if late.
    VotesPtr exchange_last_extension(VotesPtr extension_votes) {
        const std::lock_guard lock{mutex_};
        return std::exchange(last_extension_, std::move(extension_votes));
    }

   private:
    enum class Turn : std::uint8_t {
        free,    ///< none is under way and nobody waits
        taken,   ///< one is under way
        called,  ///< it has ended, and the first in line may begin; the driver sees to it before all else
    };

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

    /// Whether another gave already what one asks for, and was begun after it was asked: among many threads
    /// that extend at the same time one round serves all who wait by then. Not where this one is to shorten.
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
    Turn turn_ = Turn::free;
    std::optional<TimePoint> confirmed_from_;  ///< when the last extension that carried was begun
    VotesPtr last_extension_;
    std::optional<std::stop_source> lost_;

    std::vector<SuspendedPtr> stream_;  ///< the driver's: extensions that wait for their turn; seldom any
};

}  // namespace redlock::inline v0_1::detail

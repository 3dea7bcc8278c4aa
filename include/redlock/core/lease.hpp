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

#include "redlock/core/command.hpp"
#include "redlock/core/round.hpp"
#include "redlock/core/token.hpp"

namespace redlock::detail {

/// How the holder's right stands. Only `held` may still act, and only before valid_until.
enum class Hold : std::uint8_t { held, lost, released };

/// Thread-safe: the holder's threads, the driver and the keeper all look at it.
template <class TimePoint>
class Lease {
   public:
    using RoundPtr = std::shared_ptr<Round<TimePoint>>;

    /// One extension under way.
    struct Extension {
        TimePoint end;  ///< what it would make the validity's end
        Extension* next = nullptr;
    };

    /// What the keeper is to renew it to, and until when.
    struct Renewal {
        std::chrono::milliseconds ttl;
        TimePoint limit;
    };

    Lease(std::shared_ptr<const Claim> what, Token proof, std::vector<std::int64_t> fencing_tokens,
          RoundPtr acquire_round, std::chrono::milliseconds ttl, TimePoint acquired, TimePoint until)
        : claim{std::move(what)},
          token{std::move(proof)},
          fences{std::move(fencing_tokens)},
          acquire{std::move(acquire_round)},
          acquired_at{acquired},
          longest_ttl_{ttl},
          valid_until_{until} {}

    const std::shared_ptr<const Claim> claim;
    const Token token;
    const std::vector<std::int64_t> fences;  ///< one per resource; empty without fencing
    const RoundPtr acquire;                  ///< its votes go on coming in
    const TimePoint acquired_at;

    std::optional<Renewal> renewal;  ///< set before the keeper gets it

    // The keeper's, under its mutex.
    TimePoint deadline{};  ///< when to look at the lease next
    std::size_t timer_place = 0;
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

    [[nodiscard]] std::chrono::milliseconds longest_ttl() const {
        const std::lock_guard lock{mutex_};
        return longest_ttl_;
    }

    /// Before an extension is sent. False: there is nothing to extend any more. Where the new end comes
    /// before the present one, that is lowered at once, since the request may run and its reply be lost.
    [[nodiscard]] bool begin_extension(Extension& extension, std::chrono::milliseconds ttl, TimePoint now) {
        const std::lock_guard lock{mutex_};
        if (hold_ != Hold::held || (now - valid_until_).count() >= 0) return false;
        // Of extensions under way at once nobody knows which runs last: the earliest end counts for all.
        for (Extension* other = extensions_; other != nullptr; other = other->next) {
            other->end = extension.end = std::min(other->end, extension.end);
        }
        was_shortened_ = was_shortened_ || !(valid_until_ < extension.end);
        valid_until_ = std::min(valid_until_, extension.end);
        longest_ttl_ = std::max(longest_ttl_, ttl);
        extension.next = std::exchange(extensions_, &extension);
        return true;
    }

    /// After its round. True: the lease now lasts until the extension's end.
    bool end_extension(const Extension& extension, bool carried, TimePoint now) {
        const std::lock_guard lock{mutex_};
        Extension** link = &extensions_;
        while (*link != &extension) link = &(*link)->next;
        *link = extension.next;
        if (!carried || hold_ != Hold::held || (now - valid_until_).count() >= 0) return false;
        valid_until_ = std::max(valid_until_, extension.end);
        return true;
    }

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
    RoundPtr exchange_last_extension(RoundPtr round) {
        const std::lock_guard lock{mutex_};
        return std::exchange(last_extension_, std::move(round));
    }

   private:
    /// With the mutex held.
    Hold end_hold(TimePoint now) {
        const bool is_over = (now - valid_until_).count() >= 0;
        const Hold before = std::exchange(hold_, Hold::released);
        return before == Hold::held && is_over ? Hold::lost : before;
    }

    mutable std::mutex mutex_;
    Hold hold_ = Hold::held;
    std::chrono::milliseconds longest_ttl_;
    TimePoint valid_until_;
    bool was_shortened_ = false;
    Extension* extensions_ = nullptr;
    RoundPtr last_extension_;
    std::optional<std::stop_source> lost_;
};

}  // namespace redlock::detail

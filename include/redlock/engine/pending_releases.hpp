// SPDX-License-Identifier: Apache-2.0
// Releases that a node has not confirmed, for as long as they matter (R20, R34).
#pragma once

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <optional>
#include <utility>

#include "redlock/engine/key_records.hpp"
#include "redlock/engine/request_queue.hpp"
#include "redlock/engine/round.hpp"
#include "redlock/engine/timers.hpp"
#include "redlock/system/ref.hpp"

namespace redlock::inline v0_1::detail {

/// The pending releases of one node, and when they are sent again.
///
/// A release is urgent, worth a connection, while the node may have its keys. After that it is kept only
/// where its acquire may yet run, on a connection that no other has replaced: it then goes out with the next
/// one.
template <class TimePoint>
class PendingReleases {
   public:
    using RoundPtr = Ref<Round<TimePoint>>;

    [[nodiscard]] bool empty() const noexcept { return urgent_.empty() && kept_.empty(); }
    [[nodiscard]] std::size_t size() const noexcept { return urgent_count_ + kept_.size(); }
    [[nodiscard]] bool are_urgent() const noexcept { return !urgent_.empty(); }

    /// Past a bound, of releases or of bytes, those that matter least are forgotten.
    void add(RoundPtr release, TimePoint deadline, std::size_t count_max) {
        urgent_bytes_ += release->command.bytes().size();
        urgent_.add(make_ref<Urgent>(std::move(release), deadline));
        ++urgent_count_;
        while (size() > 1 && (size() > count_max || urgent_bytes_ + kept_.bytes() > bytes_max)) {
            static_cast<void>(kept_.empty() ? take_urgent(urgent_.earliest()) : kept_.pop());
        }
    }

    /// Takes one out. Not of none.
    [[nodiscard]] RoundPtr take() { return urgent_.empty() ? kept_.pop() : take_urgent(urgent_.earliest()); }

    // ---- when they are sent ------------------------------------------------------------------------

    /// How many may be sent now. A node that refused one is sent one after a pause, and the others when it
    /// has taken that.
    [[nodiscard]] std::size_t sendable() const noexcept {
        if (repeat_at_) return 0;
        return pause_.count() > 0 ? std::min<std::size_t>(1, size()) : size();
    }

    /// The node refused a release: the next one is sent after a pause, which is twice as long as the last.
    template <class Clock>
    void on_refused(const Clock& clock, std::chrono::nanoseconds pause_max) {
        if (empty() || repeat_at_) return;
        pause_ = std::clamp<std::chrono::nanoseconds>(2 * pause_, pause_min, std::max(pause_min, pause_max));
        repeat_at_ = clock.now() + pause_;
    }

    void on_confirmed() noexcept { pause_ = {}; }

    /// A connection came up, or ended: the pause is over.
    void on_connection_changed() noexcept { repeat_at_.reset(); }

    [[nodiscard]] bool are_paused() const noexcept { return repeat_at_.has_value(); }

    /// Whether the pause ends by now, and there is something to send. Only while they are paused.
    [[nodiscard]] bool end_pause(TimePoint now) {
        if ((now - *repeat_at_).count() < 0) return false;
        repeat_at_.reset();
        return !empty();
    }

    // ---- when they end -----------------------------------------------------------------------------

    /// When to call end_pause() or expire().
    [[nodiscard]] std::optional<TimePoint> next_due() const {
        if (urgent_.empty()) return repeat_at_;
        const TimePoint expiry = urgent_.next_due();
        return repeat_at_ ? first_of(expiry, *repeat_at_) : expiry;
    }

    /// Forgets the releases whose keys have ended for certain, or keeps them where their acquire may yet run.
    void expire(std::size_t node, const Link<TimePoint>& link, TimePoint now) {
        while (const Ref<Urgent> due = urgent_.due(now)) {
            if (const std::chrono::nanoseconds left = due->until - now; left.count() > 0) {
                due->deadline = now + left;
                urgent_.update(*due);
                continue;
            }
            RoundPtr release = take_urgent(due);
            if (!release->keys || !release->keys->may_yet_run(node, link)) continue;
            kept_.push(std::move(release));
        }
    }

   private:
    static constexpr std::size_t bytes_max = std::size_t{16} << 20U;
    static constexpr std::chrono::nanoseconds pause_min = std::chrono::milliseconds{50};

    struct Urgent : TimerEntry<TimePoint> {
        RoundPtr release;
        TimePoint until;  ///< the end of its keys
        Urgent(RoundPtr round, TimePoint end)
            : TimerEntry<TimePoint>{end}, release{std::move(round)}, until{end} {}
    };

    [[nodiscard]] RoundPtr take_urgent(const Ref<Urgent>& entry) {
        urgent_.remove(*entry);
        --urgent_count_;
        urgent_bytes_ -= entry->release->command.bytes().size();
        return std::move(entry->release);
    }

    Timers<Urgent> urgent_;
    std::size_t urgent_count_ = 0;
    std::size_t urgent_bytes_ = 0;
    RequestQueue<TimePoint> kept_;
    std::chrono::nanoseconds pause_{0};   ///< after the last refusal; 0: the node has confirmed one since
    std::optional<TimePoint> repeat_at_;  ///< the end of the pause
};

}  // namespace redlock::inline v0_1::detail

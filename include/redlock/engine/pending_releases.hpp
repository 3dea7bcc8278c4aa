// SPDX-License-Identifier: Apache-2.0
// Releases that a node has not confirmed, for as long as they matter (R20, R34).
#pragma once

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <deque>
#include <memory>
#include <optional>
#include <utility>

#include "redlock/engine/key_records.hpp"
#include "redlock/engine/round.hpp"
#include "redlock/engine/timers.hpp"

namespace redlock::inline v0_1::detail {

/// Those of one node. While there may be a key they are worth a connection. One whose acquire may yet run
/// though, on a connection that nothing has followed, is kept for the next connection and worth none.
template <class TimePoint>
class PendingReleases {
   public:
    using RoundPtr = std::shared_ptr<Round<TimePoint>>;

    [[nodiscard]] bool empty() const noexcept { return urgent_.empty() && kept_.empty(); }
    [[nodiscard]] std::size_t size() const noexcept { return urgent_count_ + kept_.size(); }
    /// Whether they are worth a connection.
    [[nodiscard]] bool are_urgent() const noexcept { return !urgent_.empty(); }
    /// When to call expire().
    [[nodiscard]] std::optional<TimePoint> next_expiry() const {
        if (urgent_.empty()) return std::nullopt;
        return urgent_.next_due();
    }

    /// Past a bound, of releases or of bytes, those that matter least are forgotten.
    void add(RoundPtr release, TimePoint deadline, std::size_t count_max) {
        bytes_ += release->command.bytes().size();
        urgent_.add(std::make_shared<Entry>(Entry{std::move(release), deadline}));
        ++urgent_count_;
        while (size() > 1 && (size() > count_max || bytes_ > bytes_max)) static_cast<void>(take_least());
    }

    [[nodiscard]] RoundPtr take() { return urgent_.empty() ? take_kept() : take_urgent(); }

    /// What is over by now is forgotten, or kept where its acquire may yet run.
    void expire(std::size_t node, const Link<TimePoint>& link, TimePoint now) {
        while (const std::shared_ptr<Entry> due = urgent_.due(now)) {
            RoundPtr release = take_urgent(due);
            if (!release->keys || !release->keys->may_yet_run(node, link)) continue;
            bytes_ += release->command.bytes().size();
            kept_.push_back(std::move(release));
        }
    }

   private:
    static constexpr std::size_t bytes_max = std::size_t{16} << 20U;

    struct Entry {
        RoundPtr release;
        TimePoint deadline;
        TimerPlaces<TimePoint> timer_places{};
    };

    [[nodiscard]] RoundPtr take_least() { return kept_.empty() ? take_urgent() : take_kept(); }

    [[nodiscard]] RoundPtr take_urgent() { return take_urgent(urgent_.earliest()); }

    /// By value: it is taken out.
    [[nodiscard]] RoundPtr take_urgent(std::shared_ptr<Entry> entry) {
        urgent_.remove(*entry);
        --urgent_count_;
        bytes_ -= entry->release->command.bytes().size();
        return std::move(entry->release);
    }

    [[nodiscard]] RoundPtr take_kept() {
        RoundPtr release = std::move(kept_.front());
        kept_.pop_front();
        bytes_ -= release->command.bytes().size();
        return release;
    }

    Timers<Entry> urgent_;
    std::size_t urgent_count_ = 0;
    std::deque<RoundPtr> kept_;
    std::size_t bytes_ = 0;
};

}  // namespace redlock::inline v0_1::detail

// SPDX-License-Identifier: Apache-2.0
// Deadlines in order: binary heaps whose entries know their places, so that any entry can be removed.
#pragma once

#include <array>
#include <chrono>
#include <cstddef>
#include <utility>
#include <vector>

#include "redlock/clock.hpp"
#include "redlock/system/ref.hpp"

namespace redlock::inline v0_1::detail {

/// Where an entry stands in each of the heaps, from 1; 0: it is in none.
template <class TimePoint>
using TimerPlaces = std::array<std::size_t, reading_count<TimePoint>>;

/// Something that is due at a point in time.
template <class TimePoint>
struct TimerEntry : Counted {
    TimerEntry() = default;
    explicit TimerEntry(TimePoint when) : deadline{when} {}

    TimePoint deadline{};
    TimerPlaces<TimePoint> timer_places{};
};

/// There is one heap per reading of the clock: a deadline has passed when it has by any of them, and what
/// comes next by one may come last by another. One class for entries of all types.
template <class TimePoint>
class TimerHeaps {
   public:
    using Entry = TimerEntry<TimePoint>;
    using EntryPtr = Ref<Entry>;

    [[nodiscard]] bool empty() const noexcept { return heaps_[0].empty(); }

    [[nodiscard]] TimePoint next_due() const {
        TimePoint next = heaps_[0].front()->deadline;
        for (const Heap& heap : heaps_) next = first_of(next, heap.front()->deadline);
        return next;
    }

    [[nodiscard]] const EntryPtr& earliest() const noexcept { return heaps_[0].front(); }

    [[nodiscard]] EntryPtr due(const TimePoint& now) const {
        for (const Heap& heap : heaps_) {
            if (!heap.empty() && (now - heap.front()->deadline).count() >= 0) return heap.front();
        }
        return nullptr;
    }

    void add(EntryPtr entry) {
        for (std::size_t h = 1; h < heaps_.size(); ++h) add(h, entry);
        add(0, std::move(entry));
    }

    void remove(Entry& entry) {
        if (entry.timer_places[0] == 0) return;
        for (std::size_t h = heaps_.size(); h-- > 0;) remove(h, entry);
    }

    void update(Entry& entry) {
        if (entry.timer_places[0] == 0) return;
        for (std::size_t h = 0; h < heaps_.size(); ++h) {
            rise(h, entry.timer_places[h] - 1);
            sink(h, entry.timer_places[h] - 1);
        }
    }

   private:
    using Heap = std::vector<EntryPtr>;

    void add(std::size_t h, EntryPtr entry) {
        heaps_[h].push_back(std::move(entry));
        rise(h, heaps_[h].size() - 1);
    }

    void remove(std::size_t h, Entry& entry) {
        Heap& heap = heaps_[h];
        const std::size_t at = std::exchange(entry.timer_places[h], 0) - 1;
        EntryPtr last = std::move(heap.back());
        heap.pop_back();
        if (at == heap.size()) return;
        const EntryPtr removed = std::exchange(heap[at], std::move(last));
        rise(h, at);
        sink(h, heap[at]->timer_places[h] - 1);
    }

    void rise(std::size_t h, std::size_t at) {
        Heap& heap = heaps_[h];
        while (at > 0 && is_before(heap[at]->deadline, heap[(at - 1) / 2]->deadline, h)) {
            std::swap(heap[at], heap[(at - 1) / 2]);
            heap[at]->timer_places[h] = at + 1;
            at = (at - 1) / 2;
        }
        heap[at]->timer_places[h] = at + 1;
    }

    void sink(std::size_t h, std::size_t at) {
        Heap& heap = heaps_[h];
        for (;;) {
            std::size_t least = at;
            for (std::size_t child = 2 * at + 1; child <= 2 * at + 2 && child < heap.size(); ++child) {
                if (is_before(heap[child]->deadline, heap[least]->deadline, h)) least = child;
            }
            if (least == at) break;
            std::swap(heap[at], heap[least]);
            heap[at]->timer_places[h] = at + 1;
            at = least;
        }
        heap[at]->timer_places[h] = at + 1;
    }

    std::array<Heap, reading_count<TimePoint>> heaps_;
};

/// Entries in the order of their deadlines; it keeps them alive. Entry derives from TimerEntry.
template <class Entry>
class Timers {
   public:
    using TimePoint = decltype(Entry::deadline);

    [[nodiscard]] bool empty() const noexcept { return heaps_.empty(); }
    [[nodiscard]] static bool has(const Entry& entry) noexcept { return entry.timer_places[0] != 0; }

    /// Before any entry is due. Not of an empty one.
    [[nodiscard]] TimePoint next_due() const { return heaps_.next_due(); }

    /// The earliest, by the first reading. Not of an empty one.
    [[nodiscard]] Ref<Entry> earliest() const {
        return Ref<Entry>{static_cast<Entry*>(heaps_.earliest().get())};
    }

    /// One whose deadline has passed; null: there is none.
    [[nodiscard]] Ref<Entry> due(const TimePoint& now) const {
        return Ref<Entry>{static_cast<Entry*>(heaps_.due(now).get())};
    }

    void add(Ref<Entry> entry) { heaps_.add(std::move(entry)); }

    /// Nothing happens where the entry is not in; nor in the next one.
    void remove(Entry& entry) { heaps_.remove(entry); }

    /// After the deadline of an entry was changed.
    void update(Entry& entry) { heaps_.update(entry); }

   private:
    TimerHeaps<TimePoint> heaps_;
};

}  // namespace redlock::inline v0_1::detail

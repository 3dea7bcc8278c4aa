// SPDX-License-Identifier: Apache-2.0
// Deadlines in order: a binary heap whose entries know their place, so that any can be taken out.
#pragma once

#include <cstddef>
#include <memory>
#include <utility>
#include <vector>

namespace redlock::detail {

/// Entry has `deadline` (ordered by <) and `timer_place`, which is 0 while it is not in the heap.
template <class Entry>
class Timers {
   public:
    [[nodiscard]] bool empty() const noexcept { return heap_.empty(); }
    [[nodiscard]] const std::shared_ptr<Entry>& earliest() const noexcept { return heap_.front(); }

    void add(std::shared_ptr<Entry> entry) {
        heap_.push_back(std::move(entry));
        rise(heap_.size() - 1);
    }

    void remove(Entry& entry) {
        if (entry.timer_place == 0) return;
        const std::size_t at = entry.timer_place - 1;
        entry.timer_place = 0;
        std::shared_ptr<Entry> last = std::move(heap_.back());
        heap_.pop_back();
        if (at == heap_.size()) return;
        heap_[at] = std::move(last);
        rise(at);
        sink(heap_[at]->timer_place - 1);
    }

    /// After the deadline of an entry was changed.
    void update(Entry& entry) {
        if (entry.timer_place == 0) return;
        rise(entry.timer_place - 1);
        sink(entry.timer_place - 1);
    }

   private:
    void rise(std::size_t at) {
        while (at > 0 && heap_[at]->deadline < heap_[(at - 1) / 2]->deadline) {
            std::swap(heap_[at], heap_[(at - 1) / 2]);
            heap_[at]->timer_place = at + 1;
            at = (at - 1) / 2;
        }
        heap_[at]->timer_place = at + 1;
    }

    void sink(std::size_t at) {
        for (;;) {
            std::size_t least = at;
            for (std::size_t child = 2 * at + 1; child <= 2 * at + 2 && child < heap_.size(); ++child) {
                if (heap_[child]->deadline < heap_[least]->deadline) least = child;
            }
            if (least == at) break;
            std::swap(heap_[at], heap_[least]);
            heap_[at]->timer_place = at + 1;
            at = least;
        }
        heap_[at]->timer_place = at + 1;
    }

    std::vector<std::shared_ptr<Entry>> heap_;
};

}  // namespace redlock::detail

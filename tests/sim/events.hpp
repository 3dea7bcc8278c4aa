// SPDX-License-Identifier: Apache-2.0
// Future events in order of time; events at the same time come in order of creation.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "sim/clock.hpp"

namespace redlock::sim {

struct Event {
    enum class Kind : std::uint8_t {
        to_node,    ///< the next message of a connection reaches its node
        to_client,  ///< the next message of a connection reaches its client
        ghost,      ///< a request is executed a second time
        echo,       ///< a notice reaches its client late
        lookup,     ///< of a host name ends
        wake,       ///< a client has something to do
        fault,      ///< begins
        fault_end,
    };
    Instant at{0};
    std::uint32_t order = 0;
    Kind kind{};
    std::uint32_t subject = 0;

    [[nodiscard]] bool is_after(const Event& other) const noexcept {
        return at != other.at ? at > other.at : order > other.order;
    }
};

/// Whether a node learns that a client has gone.
enum class Farewell : std::uint8_t { spoken, none };

class EventQueue {
   public:
    EventQueue() { heap_.reserve(256); }

    void add(Instant at, Event::Kind kind, std::uint32_t subject) {
        heap_.push_back({at, order_++, kind, subject});
        std::push_heap(heap_.begin(), heap_.end(), is_later);
    }

    [[nodiscard]] bool empty() const noexcept { return heap_.empty(); }
    [[nodiscard]] const Event& next() const noexcept { return heap_.front(); }

    Event take() {
        std::pop_heap(heap_.begin(), heap_.end(), is_later);
        const Event event = heap_.back();
        heap_.pop_back();
        return event;
    }

   private:
    static bool is_later(const Event& a, const Event& b) noexcept { return a.is_after(b); }

    std::vector<Event> heap_;
    std::uint32_t order_ = 0;
};

}  // namespace redlock::sim

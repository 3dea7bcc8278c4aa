// SPDX-License-Identifier: Apache-2.0
// Rounds whose requests one node has, or is to have, in order.
#pragma once

#include <cstddef>
#include <utility>
#include <vector>

#include "redlock/engine/round.hpp"
#include "redlock/system/ref.hpp"

namespace redlock::inline v0_1::detail {

/// First in, first out: a ring that doubles when it is full, so that a steady flow allocates nothing.
template <class TimePoint>
class RequestQueue {
   public:
    using RoundPtr = Ref<Round<TimePoint>>;

    [[nodiscard]] bool empty() const noexcept { return size_ == 0; }
    [[nodiscard]] std::size_t size() const noexcept { return size_; }
    /// Of all requests in it.
    [[nodiscard]] std::size_t bytes() const noexcept { return bytes_; }

    void push(RoundPtr round) {
        if (size_ == ring_.size()) grow();
        bytes_ += round->command.bytes().size();
        ring_[(first_ + size_) % ring_.size()] = std::move(round);
        ++size_;
    }

    /// Takes the first out. Not of an empty one.
    [[nodiscard]] RoundPtr pop() {
        RoundPtr round = std::move(ring_[first_]);
        first_ = (first_ + 1) % ring_.size();
        --size_;
        bytes_ -= round->command.bytes().size();
        return round;
    }

    /// Takes all out.
    [[nodiscard]] RequestQueue take() { return std::exchange(*this, RequestQueue{}); }

   private:
    void grow() {
        std::vector<RoundPtr> larger(ring_.empty() ? 16 : 2 * ring_.size());
        for (std::size_t i = 0; i < size_; ++i) larger[i] = std::move(ring_[(first_ + i) % ring_.size()]);
        ring_ = std::move(larger);
        first_ = 0;
    }

    std::vector<RoundPtr> ring_;
    std::size_t first_ = 0;
    std::size_t size_ = 0;
    std::size_t bytes_ = 0;
};

}  // namespace redlock::inline v0_1::detail

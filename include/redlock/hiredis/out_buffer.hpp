// SPDX-License-Identifier: Apache-2.0
// Bytes on their way into a socket.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace redlock::inline v0_1::hiredis {

/// A queue of bytes. What is left is moved only when at least as much has gone before it, so that a long
/// backlog costs time in proportion to its length, however small the pieces that the socket takes.
class OutBuffer {
   public:
    [[nodiscard]] bool empty() const noexcept { return bytes_.size() == gone_; }
    [[nodiscard]] std::string_view pending() const noexcept { return std::string_view{bytes_}.substr(gone_); }

    void append(std::string_view bytes) { bytes_.append(bytes); }

    void consume(std::size_t count) {
        gone_ += count;
        if (gone_ == bytes_.size()) {
            bytes_.clear();
            gone_ = 0;
        } else if (gone_ > keep_below && gone_ >= bytes_.size() - gone_) {
            bytes_.erase(0, gone_);
            gone_ = 0;
        }
    }

   private:
    static constexpr std::size_t keep_below = std::size_t{1} << 16U;

    std::string bytes_;
    std::size_t gone_ = 0;
};

}  // namespace redlock::inline v0_1::hiredis

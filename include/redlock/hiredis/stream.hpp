// SPDX-License-Identifier: Apache-2.0
// One connection to a node: requests out, replies in. It does not know what they mean.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>
#include <utility>

#include "redlock/hiredis/api.hpp"
#include "redlock/hiredis/out_buffer.hpp"
#include "redlock/hiredis/reply_reader.hpp"
#include "redlock/hiredis/system.hpp"

namespace redlock::inline v0_1::hiredis {

/// Bytes in pieces of any size become replies, by the parser of hiredis.
template <class ByteStream>
class Stream {
   public:
    /// One that is being connected, or could not be: then error() says why.
    explicit Stream(ByteStream bytes) : bytes_{std::move(bytes)}, error_{bytes_.error()} {
        if (error_.empty() && !replies_.is_usable()) error_ = "out of memory";
    }

    /// Why there is no stream, why it ended, or why its last bytes are no reply.
    [[nodiscard]] const std::string& error() const noexcept { return error_; }
    [[nodiscard]] int fd() const noexcept { return bytes_.fd(); }
    void abandon() const noexcept { bytes_.abandon(); }

    /// After it has become writable: whether it is connected.
    [[nodiscard]] bool finish_connect() {
        const int error = bytes_.connect_error();
        if (error != 0) error_ = std::strerror(error);
        return error == 0;
    }

    // ---- out ---------------------------------------------------------------------------------------

    /// What is to be written.
    [[nodiscard]] OutBuffer& out() noexcept { return out_; }
    [[nodiscard]] bool has_unwritten() const noexcept { return !out_.empty(); }
    /// It cannot be written to any more; there may be replies to read before it ends.
    [[nodiscard]] bool is_broken() const noexcept { return is_broken_; }

    void flush() {
        while (!out_.empty() && !is_broken_) {
            const auto size = bytes_.send(out_.pending());
            if (size == 0) return;
            if (size < 0) {
                is_broken_ = true;
            } else {
                out_.consume(static_cast<std::size_t>(size));
            }
        }
    }

    // ---- in ----------------------------------------------------------------------------------------

    /// Reads once. At the end error() says how it ended.
    [[nodiscard]] Received::Kind receive() {
        // Filling it would cost more than reading into it.
        std::array<char, 16384> buffer;  // NOLINT(cppcoreguidelines-pro-type-member-init)
        const Received received = bytes_.receive(buffer);
        may_hold_more_ = received.size == buffer.size();
        if (received.kind == Received::Kind::end) {
            error_ = received.error == 0 ? "the node closed the connection" : std::strerror(received.error);
        }
        if (received.kind == Received::Kind::bytes) replies_.feed({buffer.data(), received.size});
        return received.kind;
    }

    /// Whether the last read may have left something.
    [[nodiscard]] bool may_hold_more() const noexcept { return may_hold_more_; }

    /// The next reply of what was read. Where it is none, error() says what it is.
    [[nodiscard]] ReplyReader::Next next(ReplyPtr& reply) { return replies_.next(reply, error_); }

    /// Whether the peer has ended it, or said something unasked, as far as one sees without reading.
    [[nodiscard]] bool has_news() const noexcept { return bytes_.has_news(); }

   private:
    ByteStream bytes_;
    OutBuffer out_;
    ReplyReader replies_;
    std::string error_;
    bool is_broken_ = false;
    bool may_hold_more_ = false;
};

}  // namespace redlock::inline v0_1::hiredis

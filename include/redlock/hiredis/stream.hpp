// SPDX-License-Identifier: Apache-2.0
// One socket to a node: bytes out, replies in. It never blocks, and does not know what the bytes mean.
#pragma once

#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <string>
#include <string_view>

#include "redlock/hiredis/api.hpp"
#include "redlock/hiredis/out_buffer.hpp"
#include "redlock/hiredis/replies.hpp"

namespace redlock::inline v0_1::hiredis {

/// hiredis makes the connection and parses the replies; sending and receiving are done here, since its own
/// functions raise SIGPIPE in version 0.14.
class Stream {
   public:
    enum class Received : std::uint8_t { nothing, bytes, end };
    enum class Next : std::uint8_t { reply, none, rubbish };

    /// Begins to connect. Where this fails at once, error() says why.
    [[nodiscard]] static Stream to_socket(const std::string& path) {
        return Stream{redisConnectUnixNonBlock(path.c_str()), false};
    }
    [[nodiscard]] static Stream to_address(const std::string& address, int port) {
        return Stream{redisConnectNonBlock(address.c_str(), port), true};
    }

    /// Why the stream ended, or why its last bytes are no reply.
    [[nodiscard]] const std::string& error() const noexcept { return error_; }
    [[nodiscard]] bool is_open() const noexcept { return context_ && context_->err == 0; }
    [[nodiscard]] int fd() const noexcept { return context_->fd; }

    /// After the socket has become writable: whether it is connected.
    [[nodiscard]] bool finish_connect() {
        int error = 0;
        socklen_t size = sizeof error;
        if (::getsockopt(fd(), SOL_SOCKET, SO_ERROR, &error, &size) != 0) error = errno;
        if (error != 0) error_ = std::strerror(error);
        return error == 0;
    }

    // ---- out ---------------------------------------------------------------------------------------

    void say(std::string_view bytes) { out_.append(bytes); }
    [[nodiscard]] bool has_unwritten() const noexcept { return !out_.empty(); }
    /// It cannot be written to any more; there may be replies to read before it ends.
    [[nodiscard]] bool is_broken() const noexcept { return is_broken_; }

    void flush() {
        while (!out_.empty() && !is_broken_) {
            const std::string_view bytes = out_.pending();
            const auto size = ::send(fd(), bytes.data(), bytes.size(), MSG_NOSIGNAL);
            if (size < 0 && errno == EINTR) continue;
            if (size < 0 && would_block(errno)) return;
            if (size < 0) {
                is_broken_ = true;
                return;
            }
            out_.consume(static_cast<std::size_t>(size));
        }
    }

    // ---- in ----------------------------------------------------------------------------------------

    /// Reads once. At the end error() says how it ended.
    [[nodiscard]] Received receive() {
        // Filling it would cost more than reading into it.
        std::array<char, 16384> buffer;  // NOLINT(cppcoreguidelines-pro-type-member-init)
        ssize_t size = -1;
        do {
            size = ::recv(fd(), buffer.data(), buffer.size(), MSG_DONTWAIT);
        } while (size < 0 && errno == EINTR);
        may_hold_more_ = size == static_cast<ssize_t>(buffer.size());
        if (size < 0 && would_block(errno)) return Received::nothing;
        if (size <= 0) {
            error_ = size == 0 ? "the node closed the connection" : std::strerror(errno);
            return Received::end;
        }
        const auto length = static_cast<std::size_t>(size);
        redisReaderFeed(context_->reader, buffer.data(), length);
        unfinished_reply_ += length;
        return Received::bytes;
    }

    /// Whether the last read may have left something.
    [[nodiscard]] bool may_hold_more() const noexcept { return may_hold_more_; }

    /// The next reply of what was read. Where it is none, error() says what it is.
    [[nodiscard]] Next next(ReplyPtr& reply) {
        void* raw = nullptr;
        if (redisReaderGetReply(context_->reader, &raw) != REDIS_OK) {
            const bool is_too_long = context_->reader->err == REDIS_ERR_OOM;
            error_ = "not Redis: ";
            error_ += is_too_long ? "an array of too many elements" : context_->reader->errstr;
            return Next::rubbish;
        }
        if (raw == nullptr && unfinished_reply_ > reply_max) {
            error_ = "not Redis: a reply without an end";
            return Next::rubbish;
        }
        if (raw == nullptr) return Next::none;
        reply.reset(static_cast<redisReply*>(raw));
        unfinished_reply_ = 0;
        budget_->left = ElementBudget::most;
        return Next::reply;
    }

    /// Whether the peer has ended it, or said something unasked, as far as one sees without reading.
    [[nodiscard]] bool has_news() const noexcept {
        char byte = 0;
        const auto size = ::recv(fd(), &byte, 1, MSG_PEEK | MSG_DONTWAIT);
        return size >= 0 || (!would_block(errno) && errno != EINTR);
    }

   private:
    /// The two names stand for one number on most systems, and g++ warns where one condition has both.
    [[nodiscard]] static bool would_block(int error) noexcept {
        if (error == EAGAIN) return true;
        return error == EWOULDBLOCK;
    }

    struct FreeContext {
        void operator()(redisContext* context) const noexcept { redisFree(context); }
    };

    static constexpr std::size_t reply_max = std::size_t{1} << 20U;  // a call has a name, of 64 KiB at most

    Stream(redisContext* context, bool is_tcp) : context_{context} {
        if (context == nullptr) {
            error_ = "out of memory";
        } else if (context->err != 0) {
            error_ = context->errstr;
        } else {
            ::fcntl(context->fd, F_SETFD, FD_CLOEXEC);  // what the application executes must not hold it open
            if (is_tcp) set_keep_alive(context->fd);
            LimitedReplies::use(*context->reader, *budget_);
        }
    }

    /// Has the kernel end the connection to a peer that has vanished. A peer that is only slow has long.
    static void set_keep_alive(int fd) noexcept {
        const auto set = [fd](int level, int name, int value) {
            ::setsockopt(fd, level, name, &value, sizeof value);
        };
        set(SOL_SOCKET, SO_KEEPALIVE, 1);
#ifdef TCP_KEEPIDLE
        set(IPPROTO_TCP, TCP_KEEPIDLE, 15);
        set(IPPROTO_TCP, TCP_KEEPINTVL, 5);
        set(IPPROTO_TCP, TCP_KEEPCNT, 3);
#endif
#ifdef TCP_USER_TIMEOUT
        set(IPPROTO_TCP, TCP_USER_TIMEOUT, 30'000);
#endif
    }

    std::unique_ptr<ElementBudget> budget_ = std::make_unique<ElementBudget>();  // outlives the reader
    std::unique_ptr<redisContext, FreeContext> context_;
    OutBuffer out_;
    std::string error_;
    std::size_t unfinished_reply_ = 0;  ///< bytes at most
    bool is_broken_ = false;
    bool may_hold_more_ = false;
};

}  // namespace redlock::inline v0_1::hiredis

// SPDX-License-Identifier: Apache-2.0
// One socket: bytes out, bytes in. It never blocks.
#pragma once

#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <cstddef>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>

#include "redlock/hiredis/api.hpp"
#include "redlock/hiredis/system.hpp"

namespace redlock::inline v0_1::hiredis {

/// A ByteStream. hiredis makes the connection; sending and receiving are done here, since its own functions
/// raise SIGPIPE in version 0.14.
class Socket {
   public:
    [[nodiscard]] static Socket to_path(const std::string& path) {
        return Socket{redisConnectUnixNonBlock(path.c_str())};
    }
    [[nodiscard]] static Socket to_address(const std::string& address, int port) {
        Socket socket{redisConnectNonBlock(address.c_str(), port)};
        if (socket.error().empty()) set_keep_alive(socket.fd());
        return socket;
    }

    Socket(Socket&& other) noexcept : fd_{std::exchange(other.fd_, -1)}, error_{std::move(other.error_)} {}
    Socket& operator=(Socket&& other) noexcept {
        std::swap(fd_, other.fd_);
        std::swap(error_, other.error_);
        return *this;
    }
    ~Socket() {
        if (fd_ >= 0) ::close(fd_);
    }

    [[nodiscard]] const std::string& error() const noexcept { return error_; }
    [[nodiscard]] int fd() const noexcept { return fd_; }
    void abandon() const noexcept { ::close(fd_); }

    [[nodiscard]] int connect_error() noexcept {
        int error = 0;
        socklen_t size = sizeof error;
        return ::getsockopt(fd_, SOL_SOCKET, SO_ERROR, &error, &size) != 0 ? errno : error;
    }

    [[nodiscard]] std::ptrdiff_t send(std::string_view bytes) noexcept {
        const auto size = when_uninterrupted(
            [&] { return ::send(fd_, bytes.data(), bytes.size(), MSG_NOSIGNAL | MSG_DONTWAIT); });
        return size < 0 && would_block(errno) ? 0 : size;
    }

    [[nodiscard]] Received receive(std::span<char> buffer) noexcept {
        const auto size =
            when_uninterrupted([&] { return ::recv(fd_, buffer.data(), buffer.size(), MSG_DONTWAIT); });
        if (size > 0) return {Received::Kind::bytes, static_cast<std::size_t>(size)};
        if (size == 0) return {Received::Kind::end};
        if (would_block(errno)) return {};
        return {Received::Kind::end, 0, errno};
    }

    [[nodiscard]] bool has_news() const noexcept {
        char byte = 0;
        const auto size = when_uninterrupted([&] { return ::recv(fd_, &byte, 1, MSG_PEEK | MSG_DONTWAIT); });
        return size >= 0 || !would_block(errno);
    }

   private:
    explicit Socket(redisContext* context) {
        if (context == nullptr) {
            error_ = "out of memory";
            return;
        }
        if (context->err != 0) {
            error_ = context->errstr;
            redisFree(context);
            return;
        }
        fd_ = redisFreeKeepFd(context);
        ::fcntl(fd_, F_SETFD, FD_CLOEXEC);  // what the application executes must not hold it open
    }

    template <class Call>
    [[nodiscard]] static ssize_t when_uninterrupted(Call call) noexcept {
        ssize_t size = -1;
        do {
            size = call();
        } while (size < 0 && errno == EINTR);
        return size;
    }

    /// The two names stand for one number on most systems, and g++ warns where one condition has both.
    [[nodiscard]] static bool would_block(int error) noexcept {
        if (error == EAGAIN) return true;
        return error == EWOULDBLOCK;
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

    int fd_ = -1;
    std::string error_;  ///< why there is none
};

static_assert(IsByteStream<Socket>);

}  // namespace redlock::inline v0_1::hiredis

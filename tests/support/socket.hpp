// SPDX-License-Identifier: Apache-2.0
// Sockets for the fake nodes and the benchmarks: unix:// and redis:// addresses, listeners, connections.
#pragma once

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <cstdint>
#include <cstring>
#include <stdexcept>
#include <string>
#include <string_view>

#include "support/posix.hpp"

namespace redlock::test {

enum class Family { unix_socket, tcp };

// A socket address in the two families the tests use; TCP is 127.0.0.1, or another number at the end.
struct Address {
    Family family = Family::unix_socket;
    std::string path;
    std::uint16_t port = 0;
    std::uint8_t number = 1;

    [[nodiscard]] static Address unix_path(std::string path) {
        return {Family::unix_socket, std::move(path), 0, 1};
    }
    [[nodiscard]] static Address loopback(std::uint16_t port, std::uint8_t number = 1) {
        return {Family::tcp, {}, port, number};
    }

    // Understands what uri() of this directory's classes returns, without credentials.
    [[nodiscard]] static Address parse(std::string_view uri) {
        constexpr std::string_view unix_scheme = "unix://";
        constexpr std::string_view tcp_scheme = "redis://127.0.0.1:";
        if (uri.starts_with(unix_scheme)) return unix_path(std::string{uri.substr(unix_scheme.size())});
        if (uri.starts_with(tcp_scheme)) {
            return loopback(
                static_cast<std::uint16_t>(std::stoul(std::string{uri.substr(tcp_scheme.size())})));
        }
        throw std::invalid_argument("not an address of the test support: " + std::string{uri});
    }

    [[nodiscard]] std::string uri() const {
        if (family == Family::unix_socket) return "unix://" + path;
        return "redis://127.0.0." + std::to_string(number) + ":" + std::to_string(port);
    }
};

namespace detail {

struct SocketName {
    sockaddr_storage storage{};
    socklen_t size = 0;

    explicit SocketName(const Address& address) {
        if (address.family == Family::tcp) {
            sockaddr_in name{};
            name.sin_family = AF_INET;
            name.sin_port = htons(address.port);
            name.sin_addr.s_addr = htonl(INADDR_LOOPBACK - 1U + address.number);
            size = sizeof name;
            std::memcpy(&storage, &name, sizeof name);
            return;
        }
        sockaddr_un name{};
        name.sun_family = AF_UNIX;
        if (address.path.size() >= sizeof name.sun_path)
            throw std::length_error("socket path: " + address.path);
        std::memcpy(name.sun_path, address.path.data(), address.path.size());
        size = sizeof name;
        std::memcpy(&storage, &name, sizeof name);
    }
    [[nodiscard]] const sockaddr* get() const noexcept { return reinterpret_cast<const sockaddr*>(&storage); }
};

inline FileDescriptor open_socket(Family family, int flags) {
    FileDescriptor fd{
        ::socket(family == Family::tcp ? AF_INET : AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | flags, 0)};
    if (!fd) throw_errno("socket");
    return fd;
}

}  // namespace detail

inline void set_no_delay(int fd) noexcept {
    const int on = 1;
    ::setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);  // fails, harmlessly, on a unix socket
}

[[nodiscard]] inline std::uint16_t local_port(int fd) {
    sockaddr_in name{};
    socklen_t size = sizeof name;
    if (::getsockname(fd, reinterpret_cast<sockaddr*>(&name), &size) != 0) throw_errno("getsockname");
    return ntohs(name.sin_port);
}

// Bound but not listening: connections to it are refused, and no other process can take the port meanwhile.
[[nodiscard]] inline FileDescriptor bind_socket(const Address& address) {
    auto fd = detail::open_socket(address.family, 0);
    const int on = 1;
    ::setsockopt(fd.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    const detail::SocketName name{address};
    if (::bind(fd.get(), name.get(), name.size) != 0) throw_errno("bind " + address.uri());
    return fd;
}

// A non-blocking listener; port 0 lets the kernel choose one.
[[nodiscard]] inline FileDescriptor listen_on(const Address& address, int backlog = SOMAXCONN) {
    auto fd = bind_socket(address);
    if (::listen(fd.get(), backlog) != 0) throw_errno("listen " + address.uri());
    if (::fcntl(fd.get(), F_SETFL, O_NONBLOCK) != 0) throw_errno("fcntl");
    return fd;
}

// A non-blocking connection, perhaps still in progress. Empty when it is refused (errno says why).
[[nodiscard]] inline FileDescriptor connect_to(const Address& address) {
    auto fd = detail::open_socket(address.family, SOCK_NONBLOCK);
    if (address.family == Family::tcp) set_no_delay(fd.get());
    const detail::SocketName name{address};
    if (::connect(fd.get(), name.get(), name.size) != 0 && errno != EINPROGRESS) fd.reset();
    return fd;
}

// A TCP port that was free a moment ago. The caller must expect that another process takes it.
[[nodiscard]] inline std::uint16_t free_port() { return local_port(bind_socket(Address::loopback(0)).get()); }

}  // namespace redlock::test

// SPDX-License-Identifier: Apache-2.0
// Looking up host names without making anyone wait, and waking up whoever does wait.
#pragma once

#include <arpa/inet.h>
#include <netdb.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

#include "redlock/core/threads.hpp"

namespace redlock::hiredis {

/// A file descriptor that becomes readable when signal() is called, from any thread.
class WakeUp {
   public:
    WakeUp() : fd_{::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)} {
        if (fd_ < 0) throw std::system_error{errno, std::generic_category(), "redlock: eventfd"};
    }
    WakeUp(const WakeUp&) = delete;
    WakeUp& operator=(const WakeUp&) = delete;
    ~WakeUp() { ::close(fd_); }

    [[nodiscard]] int fd() const noexcept { return fd_; }

    void signal() const noexcept {
        const std::uint64_t one = 1;
        [[maybe_unused]] const auto written = ::write(fd_, &one, sizeof one);  // full is readable too
    }

    void clear() const noexcept {
        std::uint64_t count = 0;
        [[maybe_unused]] const auto size = ::read(fd_, &count, sizeof count);
    }

   private:
    int fd_;
};

/// One host name being looked up, on a thread of its own: getaddrinfo() can block for many seconds. The
/// thread is detached and owns all that it touches, so that nobody ever waits for it.
class Lookup {
   public:
    Lookup(const std::string& host, std::shared_ptr<WakeUp> wake_up) : state_{std::make_shared<State>()} {
        try {
            detail::start_thread([state = state_, host, waker = std::move(wake_up)] {
                resolve(*state, host);
                waker->signal();
            }).detach();
        } catch (const std::system_error& error) {
            state_->is_done = true;
            state_->error = error.what();
        }
    }

    [[nodiscard]] bool is_done() const {
        const std::lock_guard lock{state_->mutex};
        return state_->is_done;
    }

    /// Numeric addresses, in the system's order of preference; once it is done.
    [[nodiscard]] std::vector<std::string> addresses() const {
        const std::lock_guard lock{state_->mutex};
        return state_->addresses;
    }

    [[nodiscard]] std::string error() const {
        const std::lock_guard lock{state_->mutex};
        return state_->error;
    }

    /// Whether a host needs no looking up.
    [[nodiscard]] static bool is_numeric(const std::string& host) noexcept {
        std::array<unsigned char, sizeof(in6_addr)> address{};
        return ::inet_pton(AF_INET, host.c_str(), address.data()) == 1 ||
               ::inet_pton(AF_INET6, host.c_str(), address.data()) == 1;
    }

   private:
    struct State {
        std::mutex mutex;
        bool is_done = false;
        std::vector<std::string> addresses;
        std::string error;
    };

    static void resolve(State& state, const std::string& host) {
        addrinfo hints{};
        hints.ai_socktype = SOCK_STREAM;
        addrinfo* list = nullptr;
        const int error = ::getaddrinfo(host.c_str(), nullptr, &hints, &list);
        std::vector<std::string> found;
        for (const addrinfo* entry = list; entry != nullptr; entry = entry->ai_next) {
            std::array<char, NI_MAXHOST> text{};
            if (::getnameinfo(entry->ai_addr, entry->ai_addrlen, text.data(), text.size(), nullptr, 0,
                              NI_NUMERICHOST) == 0) {
                found.emplace_back(text.data());
            }
        }
        if (list != nullptr) ::freeaddrinfo(list);
        const std::lock_guard lock{state.mutex};
        state.is_done = true;
        state.addresses = std::move(found);
        if (state.addresses.empty()) state.error = error != 0 ? ::gai_strerror(error) : "no address";
    }

    std::shared_ptr<State> state_;
};

}  // namespace redlock::hiredis

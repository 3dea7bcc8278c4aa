// SPDX-License-Identifier: Apache-2.0
// Looking up host names without making anyone wait, and waking up whoever does wait.
#pragma once

#include <arpa/inet.h>
#include <netdb.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cerrno>
#include <cstdint>
#include <exception>
#include <memory>
#include <mutex>
#include <new>
#include <optional>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

#include "redlock/system/fork.hpp"
#include "redlock/system/threads.hpp"
#include "redlock/text/printable.hpp"
#include "redlock/version.hpp"

namespace redlock::inline v0_1::hiredis {

/// A file descriptor that becomes readable when wake() is called, from any thread.
class WakeUp {
   public:
    WakeUp() : fd_{::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)} {
        if (fd_ < 0) throw std::system_error{errno, std::generic_category(), "redlock: eventfd"};
    }
    WakeUp(const WakeUp&) = delete;
    WakeUp& operator=(const WakeUp&) = delete;
    ~WakeUp() { ::close(fd_); }

    [[nodiscard]] int fd() const noexcept { return fd_; }

    void wake() const noexcept {
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

/// The state of a look-up, shared by all connections that wait for it.
class LookupState {
   public:
    struct Outcome {
        std::vector<std::string> addresses{};  ///< numeric, in the system's order of preference
        std::string error{};                   ///< why there are none
        bool may_pass = false;  ///< the error is not about the name: a later look-up may find some
    };

    explicit LookupState(std::string host) : host_{std::move(host)} {}

    [[nodiscard]] const std::string& host() const noexcept { return host_; }

    /// Nothing until it has ended.
    [[nodiscard]] std::optional<Outcome> outcome() const {
        const std::lock_guard lock{mutex_};
        return outcome_;
    }

    /// Has `wake_up` woken when the look-up ends, or at once where it has ended; unless it is gone by then.
    void tell(const std::shared_ptr<WakeUp>& wake_up) {
        const std::lock_guard lock{mutex_};
        if (outcome_) return wake_up->wake();
        for (auto& listener : listeners_) {
            if (!listener.expired()) continue;
            listener = wake_up;
            return;
        }
        listeners_.push_back(wake_up);
    }

    void end(Outcome outcome) {
        const std::lock_guard lock{mutex_};
        outcome_ = std::move(outcome);
        for (const auto& listener : listeners_) {
            if (const auto wake_up = listener.lock()) wake_up->wake();
        }
    }

   private:
    const std::string host_;
    mutable std::mutex mutex_;
    std::optional<Outcome> outcome_;
    std::vector<std::weak_ptr<WakeUp>> listeners_;
};

/// The look-ups of a process that are under way. getaddrinfo() can block for many seconds and cannot be
/// cancelled, so each has a thread, which is detached and owns all that it touches. Nothing waits for that
/// thread: not the look-up of another name, nor the end of a Redlock or of the program. A name that is being
/// looked up already is not looked up twice: there are at most as many threads as there are names of nodes in
/// the process, and none when no connection is being made.
class Lookups {
   public:
    using StatePtr = std::shared_ptr<LookupState>;

    /// In a forked child it is another one: the threads of the first do not exist there.
    [[nodiscard]] static Lookups& of_process() {
        static std::atomic<Lookups*> current{nullptr};
        Lookups* known = current.load(std::memory_order_acquire);
        while (known == nullptr || known->fork_mark_.is_forked()) {
            auto fresh = std::make_unique<Lookups>();
            if (current.compare_exchange_strong(known, fresh.get())) known = fresh.release();
        }
        return *known;  // never destroyed: the threads may outlive all else
    }

    /// Where the system gives no thread, or memory runs out, it has ended when this returns.
    [[nodiscard]] StatePtr begin(const std::string& host) {
        const std::lock_guard lock{mutex_};
        for (const StatePtr& known : under_way_) {
            if (known->host() == host) return known;
        }
        auto state = std::make_shared<LookupState>(host);
        under_way_.push_back(state);
        try {
            detail::start_thread([this, state] {
                LookupState::Outcome outcome = ask(state->host());
                forget(state);
                state->end(std::move(outcome));
            }).detach();
        } catch (const std::exception& error) {
            erase(state);
            state->end({{}, detail::joined({"no thread to look it up: ", error.what()}), true});
        }
        return state;
    }

   private:
    void forget(const StatePtr& state) {
        const std::lock_guard lock{mutex_};
        erase(state);
    }

    void erase(const StatePtr& state) {
        for (StatePtr& known : under_way_) {
            if (known != state) continue;
            known.swap(under_way_.back());
            return under_way_.pop_back();
        }
    }

    static LookupState::Outcome ask(const std::string& host) try {
        addrinfo hints{};
        hints.ai_socktype = SOCK_STREAM;
        addrinfo* list = nullptr;
        const int error = ::getaddrinfo(host.c_str(), nullptr, &hints, &list);
        LookupState::Outcome outcome;
        for (const addrinfo* entry = list; entry != nullptr; entry = entry->ai_next) {
            std::array<char, NI_MAXHOST> text{};
            if (::getnameinfo(entry->ai_addr, entry->ai_addrlen, text.data(), text.size(), nullptr, 0,
                              NI_NUMERICHOST) == 0) {
                outcome.addresses.emplace_back(text.data());
            }
        }
        if (list != nullptr) ::freeaddrinfo(list);
        if (!outcome.addresses.empty()) return outcome;
        outcome.error = error != 0 ? ::gai_strerror(error) : "no address";
        outcome.may_pass = error == EAI_AGAIN || error == EAI_SYSTEM || error == EAI_MEMORY;
        return outcome;
    } catch (const std::bad_alloc&) {
        return {{}, "out of memory", true};
    }

    std::mutex mutex_;
    std::vector<StatePtr> under_way_;
    detail::ForkMark fork_mark_;
};

/// Whether a host needs no looking up.
[[nodiscard]] inline bool is_numeric(const std::string& host) noexcept {
    std::array<unsigned char, sizeof(in6_addr)> address{};
    return ::inet_pton(AF_INET, host.c_str(), address.data()) == 1 ||
           ::inet_pton(AF_INET6, host.c_str(), address.data()) == 1;
}

}  // namespace redlock::inline v0_1::hiredis

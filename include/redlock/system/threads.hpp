// SPDX-License-Identifier: Apache-2.0
// Threads of the library's own.
#pragma once

#include <pthread.h>
#include <signal.h>

#include <thread>
#include <utility>

namespace redlock::inline v0_1::detail {

/// As long as it lives, threads that this one starts take no signal of the process: a handler of the
/// application runs on a thread of the application's. What a thread does to itself, such as a fault, still
/// reaches it.
class SignalsBlocked {
   public:
    SignalsBlocked() noexcept {
        sigset_t all{};
        ::sigfillset(&all);
        for (const int own : {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGSYS, SIGABRT})
            ::sigdelset(&all, own);
        ::pthread_sigmask(SIG_SETMASK, &all, &before_);
    }
    SignalsBlocked(const SignalsBlocked&) = delete;
    SignalsBlocked& operator=(const SignalsBlocked&) = delete;
    ~SignalsBlocked() { ::pthread_sigmask(SIG_SETMASK, &before_, nullptr); }

   private:
    sigset_t before_{};
};

/// Throws std::system_error where no thread can be had.
template <class Work>
[[nodiscard]] std::thread start_thread(Work work) {
    const SignalsBlocked blocked;
    return std::thread{std::move(work)};
}

}  // namespace redlock::inline v0_1::detail

// SPDX-License-Identifier: Apache-2.0
// The threads that the library starts.
#pragma once

#include <pthread.h>
#include <signal.h>

#include <functional>
#include <thread>
#include <utility>

namespace redlock::inline v0_1::detail {

/// While it lives, the threads that this thread starts handle no signal of the process: the application's
/// handlers run on the application's threads. A signal that a thread causes itself, such as a fault, still
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

/// Throws std::system_error if the system gives no thread.
[[nodiscard]] inline std::thread start_thread(std::function<void()> work) {
    const SignalsBlocked blocked;
    return std::thread{std::move(work)};
}

}  // namespace redlock::inline v0_1::detail

// SPDX-License-Identifier: Apache-2.0
// SIGINT, SIGTERM and SIGHUP as something to wait for. To be made before any thread is started: they inherit
// it.
#pragma once

#include <poll.h>
#include <signal.h>
#include <sys/signalfd.h>

#include <chrono>

#include "support/posix.hpp"

namespace redlock::chaos {

class EndSignals {
   public:
    EndSignals() {
        sigset_t set;
        ::sigemptyset(&set);
        for (const int signal : {SIGINT, SIGTERM, SIGHUP}) ::sigaddset(&set, signal);
        ::pthread_sigmask(SIG_BLOCK, &set, nullptr);
        arrived_ = test::FileDescriptor{::signalfd(-1, &set, SFD_CLOEXEC)};
        if (!arrived_) test::throw_errno("signalfd");
    }

    // Waits for one of them, for `longest` at most. Once it has arrived, it stays so.
    [[nodiscard]] bool arrived_within(std::chrono::nanoseconds longest) const {
        pollfd ready{arrived_.get(), POLLIN, 0};
        const auto ms = std::chrono::ceil<std::chrono::milliseconds>(longest).count();
        return ::poll(&ready, 1, static_cast<int>(ms)) > 0;
    }

   private:
    test::FileDescriptor arrived_;
};

}  // namespace redlock::chaos

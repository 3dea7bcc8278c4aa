// SPDX-License-Identifier: Apache-2.0
// Turns Ctrl-C and SIGTERM into a stop request.
#pragma once

#include <fcntl.h>
#include <signal.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <stop_token>
#include <system_error>
#include <thread>

namespace cron {

/// The first SIGINT or SIGTERM requests a stop; the second ends the program, as by default. Use one per
/// program. The signals are handled, not blocked, since a program that is started meanwhile would inherit
/// blocked signals, which would not end it.
class StopOnSignals {
   public:
    StopOnSignals() {
        if (::pipe2(pipe_.data(), O_CLOEXEC) != 0) {
            throw std::system_error{errno, std::generic_category(), "pipe"};
        }
        thread_ = std::thread{[this] {
            char byte = 0;
            while (::read(pipe_[0], &byte, 1) < 0 && errno == EINTR) continue;
            stop_.request_stop();
        }};
        signalled_fd = pipe_[1];
        struct sigaction action {};
        action.sa_handler = on_signal;
        action.sa_flags = SA_RESTART;
        ::sigaction(SIGINT, &action, nullptr);
        ::sigaction(SIGTERM, &action, nullptr);
    }
    StopOnSignals(const StopOnSignals&) = delete;
    StopOnSignals& operator=(const StopOnSignals&) = delete;
    ~StopOnSignals() {
        by_default();
        ::close(pipe_[1]);
        thread_.join();
        ::close(pipe_[0]);
    }

    [[nodiscard]] std::stop_token token() const noexcept { return stop_.get_token(); }

   private:
    static void by_default() noexcept {
        ::signal(SIGINT, SIG_DFL);   // NOLINT(cert-err33-c): these two can be handled
        ::signal(SIGTERM, SIG_DFL);  // NOLINT(cert-err33-c)
    }

    /// Calls only functions that a signal handler may call. The thread requests the stop.
    static void on_signal(int /*signal*/) {
        const int saved = errno;
        by_default();
        [[maybe_unused]] const auto written = ::write(signalled_fd, "", 1);
        errno = saved;
    }

    inline static volatile sig_atomic_t signalled_fd = -1;

    std::array<int, 2> pipe_{};
    std::stop_source stop_;
    std::thread thread_;
};

}  // namespace cron

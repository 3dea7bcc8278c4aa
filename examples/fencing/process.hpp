// SPDX-License-Identifier: Apache-2.0
// A child process that can be stopped and continued.
#pragma once

#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <functional>
#include <system_error>

namespace fencing {

/// Thrown when Ctrl-C or SIGTERM ends a wait, so that destructors clean up.
struct Interrupted {
    int signal;
};

/// A child process that is killed with its owner, and with its owner's process.
class Process {
   public:
    /// Call once in a program, before the first Process. From then on only wait() receives these signals.
    static void block_signals() {
        const sigset_t set = signals();
        ::sigprocmask(SIG_BLOCK, &set, nullptr);
    }

    /// Runs `body`, whose result is the exit status, in a copy of this process.
    explicit Process(const std::function<int()>& body) : pid_{::fork()} {
        if (pid_ < 0) throw std::system_error{errno, std::generic_category(), "fork"};
        if (pid_ > 0) return;
        ::prctl(PR_SET_PDEATHSIG, SIGKILL);
        ::_exit(body());
    }
    Process(const Process&) = delete;
    Process& operator=(const Process&) = delete;
    ~Process() {
        if (has_ended_) return;
        ::kill(pid_, SIGKILL);
        ::waitpid(pid_, nullptr, 0);
    }

    /// Waits until the process stops or ends. Returns whether it stopped, or ended with status 0.
    bool wait() {
        const sigset_t set = signals();
        int status = 0;
        while (::waitpid(pid_, &status, WNOHANG | WUNTRACED) == 0) {
            int signal = 0;
            ::sigwait(&set, &signal);
            if (signal != SIGCHLD) throw Interrupted{signal};
        }
        has_ended_ = !WIFSTOPPED(status);
        return WIFSTOPPED(status) || (WIFEXITED(status) && WEXITSTATUS(status) == 0);
    }

    void go_on() const { ::kill(pid_, SIGCONT); }

   private:
    static sigset_t signals() {
        sigset_t set{};
        ::sigemptyset(&set);
        for (const int signal : {SIGCHLD, SIGHUP, SIGINT, SIGTERM}) ::sigaddset(&set, signal);
        return set;
    }

    pid_t pid_;
    bool has_ended_ = false;
};

}  // namespace fencing

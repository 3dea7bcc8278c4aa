// SPDX-License-Identifier: Apache-2.0
// A job that is a shell command.
#pragma once

#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <stdexcept>
#include <stop_token>
#include <string>
#include <system_error>
#include <vector>

extern "C" char** environ;  // NOLINT(readability-redundant-declaration)

namespace cron {

/// Runs the command and returns when it has ended. The command has the fencing token in $FENCING_TOKEN, and
/// gets SIGTERM when the lock is lost and when this program dies. Throws std::runtime_error if it fails.
inline void run_command(const std::string& command, std::uint64_t fencing_token,
                        const std::stop_token& lost) {
    // Built before the fork, since the forked child of a program with threads may call very little.
    const std::string token = "FENCING_TOKEN=" + std::to_string(fencing_token);
    std::vector<const char*> environment;
    for (char** variable = environ; *variable != nullptr; ++variable) environment.push_back(*variable);
    environment.push_back(token.c_str());
    environment.push_back(nullptr);
    const pid_t pid = ::fork();
    if (pid < 0) throw std::system_error{errno, std::generic_category(), "fork"};
    if (pid == 0) {
        ::prctl(PR_SET_PDEATHSIG, SIGTERM);
        ::execle("/bin/sh", "sh", "-c", command.c_str(), nullptr, const_cast<char**>(environment.data()));
        ::_exit(127);
    }
    {
        // The callback must be gone before waitpid() frees the process id for other processes.
        const std::stop_callback on_lost{lost, [pid] { ::kill(pid, SIGTERM); }};
        siginfo_t ended{};
        while (::waitid(P_PID, static_cast<id_t>(pid), &ended, WEXITED | WNOWAIT) != 0 && errno == EINTR) {
        }
    }
    int status = 0;
    ::waitpid(pid, &status, 0);
    if (WIFSIGNALED(status)) throw std::runtime_error{"ended by signal " + std::to_string(WTERMSIG(status))};
    if (WEXITSTATUS(status) != 0) {
        throw std::runtime_error{"ended with status " + std::to_string(WEXITSTATUS(status))};
    }
}

}  // namespace cron

// SPDX-License-Identifier: Apache-2.0
// A job that is a command of the shell.
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

/// Until the command has ended; it finds the fencing token in $FENCING_TOKEN. SIGTERM reaches it when the
/// lock is lost, and when this program dies. Throws std::runtime_error where it fails.
inline void run_command(const std::string& command, std::uint64_t fencing_token,
                        const std::stop_token& lost) {
    // Before the fork, after which a program of several threads may do very little.
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
        // Gone before the process id is given back, which may be another's from then on.
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

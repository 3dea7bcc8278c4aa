// SPDX-License-Identifier: Apache-2.0
// A child process that cannot outlive the test: started, stopped, continued, killed and reaped by its id.
#pragma once

#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>
#include <csignal>

#include <chrono>
#include <condition_variable>
#include <cstdlib>
#include <future>
#include <mutex>
#include <optional>
#include <sstream>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "support/eventually.hpp"
#include "support/posix.hpp"

namespace redlock::test {

// What to run: the program's full path first, then its arguments.
struct Command {
    std::vector<std::string> arguments;
    std::string directory{};    // where it runs; empty: where we are
    std::string output_file{};  // gets stdout and stderr, appended; empty: discarded
};

// The full path of `program`, or nothing if PATH does not have it.
[[nodiscard]] inline std::optional<std::string> find_executable(const std::string& program) {
    if (program.find('/') != std::string::npos) {
        return ::access(program.c_str(), X_OK) == 0 ? std::optional{program} : std::nullopt;
    }
    const char* path = std::getenv("PATH");
    std::istringstream directories{path != nullptr ? path : "/usr/bin:/bin"};
    for (std::string directory; std::getline(directories, directory, ':');) {
        auto candidate = (directory.empty() ? "." : directory) + "/" + program;
        if (::access(candidate.c_str(), X_OK) == 0) return candidate;
    }
    return std::nullopt;
}

namespace detail {

// Everything the child needs, laid out before the fork: between fork and exec nothing may allocate.
class ChildImage {
   public:
    explicit ChildImage(const Command& command);

    // Runs in the child. Only async-signal-safe calls; an errno goes to `report` if exec is not reached.
    [[noreturn]] void become(int report) const noexcept;

   private:
    static void reset_signals() noexcept;
    static bool redirect(int target, const char* path, int flags) noexcept;
    static void close_others_on_exec() noexcept;

    std::vector<std::string> arguments_;
    std::vector<char*> argv_;  // into arguments_
    const char* directory_;
    const char* output_;
    pid_t parent_;
};

// PR_SET_PDEATHSIG acts when the *thread* that forked ends. So that a test may start a server from any
// thread, all forks are done by this one, which lives as long as the process and is never destroyed.
class Spawner {
   public:
    static Spawner& instance();

    pid_t spawn(const Command& command);

   private:
    Spawner();
    void run();

    pid_t owner_;
    std::mutex turn_;  // one caller at a time
    std::mutex mutex_;
    std::condition_variable posted_;
    std::packaged_task<pid_t()>* task_ = nullptr;
};

}  // namespace detail

// One child. Thread-safe. The destructor kills and reaps it.
class ChildProcess {
   public:
    ChildProcess() = default;
    explicit ChildProcess(const Command& command) { start(command); }
    ChildProcess(const ChildProcess&) = delete;
    ChildProcess& operator=(const ChildProcess&) = delete;
    ~ChildProcess();

    void start(const Command& command);

    // 0 when there is none.
    [[nodiscard]] pid_t pid() const;
    // Whether it has not ended. A stopped process counts as running.
    [[nodiscard]] bool running();
    [[nodiscard]] bool stopped() const;
    // The status that waitpid() gave at its end; nothing before.
    [[nodiscard]] std::optional<int> status() const;

    // SIGSTOP; returns when every thread of the process has stopped.
    void stop();
    // SIGCONT; harmless when it is not stopped.
    void resume();
    // SIGKILL, also to a stopped process; returns when it is gone.
    void kill();
    // SIGTERM, and SIGKILL if it has not ended after `grace`.
    void terminate(std::chrono::milliseconds grace);

   private:
    // Calls waitpid() with `flags`. True while the child lives; afterwards its id is never used again.
    bool reap(int flags);

    mutable std::mutex mutex_;
    pid_t pid_ = 0;
    pid_t owner_ = 0;
    bool stopped_ = false;
    std::optional<int> status_;
};

}  // namespace redlock::test

// SPDX-License-Identifier: Apache-2.0
// A child process that reads commands as lines, and answers with lines.
#pragma once

#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

extern "C" char** environ;  // NOLINT(readability-redundant-declaration)

namespace tour {

/// Starts a program. `from` and `to` become its standard input and output; -1 stands for /dev/null.
inline pid_t spawn(std::vector<std::string> words, int from, int to) {
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    const auto attach = [&actions](int target, int source) {
        if (source >= 0) {
            posix_spawn_file_actions_adddup2(&actions, source, target);
        } else {
            posix_spawn_file_actions_addopen(&actions, target, "/dev/null", O_RDWR, 0);
        }
    };
    attach(STDIN_FILENO, from);
    attach(STDOUT_FILENO, to);
    if (to < 0) attach(STDERR_FILENO, -1);
    std::vector<char*> argv;
    argv.reserve(words.size() + 1);
    for (std::string& word : words) argv.push_back(word.data());
    argv.push_back(nullptr);
    pid_t pid = -1;
    const int error = ::posix_spawnp(&pid, argv[0], &actions, nullptr, argv.data(), environ);
    posix_spawn_file_actions_destroy(&actions);
    if (error != 0) throw std::system_error{error, std::generic_category(), words.front()};
    return pid;
}

/// Runs this same program with other arguments. Ends with its owner.
class Child {
   public:
    explicit Child(std::vector<std::string> arguments) {
        std::array<int, 2> commands{};
        std::array<int, 2> events{};
        if (::pipe2(commands.data(), O_CLOEXEC) != 0 || ::pipe2(events.data(), O_CLOEXEC) != 0) {
            throw std::system_error{errno, std::generic_category(), "pipe"};
        }
        arguments.insert(arguments.begin(), "/proc/self/exe");
        pid_ = spawn(std::move(arguments), commands[0], events[1]);
        ::close(commands[0]);
        ::close(events[1]);
        commands_ = commands[1];
        events_ = events[0];
    }
    Child(const Child&) = delete;
    Child& operator=(const Child&) = delete;
    ~Child() {
        kill();
        ::close(commands_);
        ::close(events_);
    }

    [[nodiscard]] pid_t pid() const noexcept { return pid_; }
    [[nodiscard]] bool is_running() const noexcept { return is_running_; }
    [[nodiscard]] int events_fd() const noexcept { return events_; }

    void tell(std::string command) const {
        command.push_back('\n');
        if (::write(commands_, command.data(), command.size()) < 0) {
            throw std::system_error{errno, std::generic_category(), "the worker process has ended"};
        }
    }

    /// Reads the output that has arrived. Returns false if the child has closed its output.
    bool read() {
        std::array<char, 4096> buffer{};
        const auto size = ::read(events_, buffer.data(), buffer.size());
        if (size > 0) unread_.append(buffer.data(), static_cast<std::size_t>(size));
        return size > 0;
    }

    std::optional<std::string> next_line() {
        const std::size_t end = unread_.find('\n');
        if (end == std::string::npos) return std::nullopt;
        std::string line = unread_.substr(0, end);
        unread_.erase(0, end + 1);
        return line;
    }

    /// Kills the child with SIGKILL, and waits until it has ended.
    void kill() noexcept {
        if (!is_running_) return;
        ::kill(pid_, SIGKILL);
        ::waitpid(pid_, nullptr, 0);
        is_running_ = false;
    }

   private:
    pid_t pid_ = -1;
    int commands_ = -1;
    int events_ = -1;
    bool is_running_ = true;
    std::string unread_;
};

}  // namespace tour

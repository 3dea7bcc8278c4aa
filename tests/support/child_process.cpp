// SPDX-License-Identifier: Apache-2.0
#include "support/child_process.hpp"

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
namespace detail {

ChildImage::ChildImage(const Command& command)
    : arguments_(command.arguments),
      directory_(command.directory.empty() ? nullptr : command.directory.c_str()),
      output_(command.output_file.empty() ? "/dev/null" : command.output_file.c_str()),
      parent_(::getpid()) {
    for (auto& argument : arguments_) argv_.push_back(argument.data());
    argv_.push_back(nullptr);
}

void ChildImage::become(int report) const noexcept {
    // The child dies with the thread that forked it. So a thread that never ends does all forks (Spawner).
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (::getppid() != parent_) ::_exit(127);
    reset_signals();
    const bool ready = redirect(STDIN_FILENO, "/dev/null", O_RDONLY) &&
                       redirect(STDOUT_FILENO, output_, O_WRONLY | O_CREAT | O_APPEND) &&
                       ::dup2(STDOUT_FILENO, STDERR_FILENO) >= 0 &&
                       (directory_ == nullptr || ::chdir(directory_) == 0);
    // A test's sockets must not stay open in a server because hiredis did not mark them close-on-exec.
    close_others_on_exec();
    if (ready) ::execv(argv_[0], argv_.data());
    const int error = errno;
    [[maybe_unused]] const auto written = ::write(report, &error, sizeof error);
    ::_exit(127);
}

void ChildImage::reset_signals() noexcept {
    sigset_t none;
    ::sigemptyset(&none);
    ::sigprocmask(SIG_SETMASK, &none, nullptr);
    ::signal(SIGPIPE, SIG_DFL);
}

bool ChildImage::redirect(int target, const char* path, int flags) noexcept {
    const int fd = ::open(path, flags, 0600);
    return fd >= 0 && ::dup2(fd, target) >= 0 && (fd == target || ::close(fd) == 0);
}

void ChildImage::close_others_on_exec() noexcept {
    constexpr unsigned cloexec_flag = 1U << 2U;  // CLOSE_RANGE_CLOEXEC, Linux 5.11
#ifdef SYS_close_range
    if (::syscall(SYS_close_range, 3U, ~0U, cloexec_flag) == 0) return;
#endif
    constexpr int plenty = 4096;
    for (int fd = 3; fd < plenty; ++fd) ::fcntl(fd, F_SETFD, FD_CLOEXEC);
}

pid_t fork_and_exec(const Command& command) {
    const ChildImage image{command};
    int ends[2];
    if (::pipe2(ends, O_CLOEXEC) != 0) throw_errno("pipe2");
    const FileDescriptor reader{ends[0]};
    FileDescriptor writer{ends[1]};
    const pid_t pid = ::fork();
    if (pid < 0) throw_errno("fork");
    if (pid == 0) image.become(writer.get());
    writer.reset();
    int error = 0;
    if (::read(reader.get(), &error, sizeof error) == sizeof error) {
        ::waitpid(pid, nullptr, 0);
        throw std::system_error(error, std::generic_category(), "cannot run " + command.arguments.at(0));
    }
    return pid;
}

Spawner& Spawner::instance() {
    static auto* const spawner = new Spawner;
    return *spawner;
}

pid_t Spawner::spawn(const Command& command) {
    if (::getpid() != owner_) throw std::logic_error("a forked child of the test cannot start processes");
    std::packaged_task<pid_t()> task{[&command] { return fork_and_exec(command); }};
    auto result = task.get_future();
    const std::lock_guard turn{turn_};
    {
        const std::lock_guard lock{mutex_};
        task_ = &task;
    }
    posted_.notify_one();
    result.wait();
    return result.get();
}

Spawner::Spawner() : owner_(::getpid()) {
    std::thread{[this] { run(); }}.detach();
}

void Spawner::run() {
    std::unique_lock lock{mutex_};
    for (;;) {
        posted_.wait(lock, [this] { return task_ != nullptr; });
        auto task = std::move(*std::exchange(task_, nullptr));
        task();
    }
}

}  // namespace detail

ChildProcess::~ChildProcess() {
    if (owner_ == ::getpid()) kill();
}

void ChildProcess::start(const Command& command) {
    const std::lock_guard lock{mutex_};
    if (reap(WNOHANG)) throw std::logic_error("the process is already running");
    pid_ = detail::Spawner::instance().spawn(command);
    owner_ = ::getpid();
    stopped_ = false;
}

pid_t ChildProcess::pid() const {
    const std::lock_guard lock{mutex_};
    return pid_;
}

bool ChildProcess::running() {
    const std::lock_guard lock{mutex_};
    return reap(WNOHANG);
}

bool ChildProcess::stopped() const {
    const std::lock_guard lock{mutex_};
    return stopped_;
}

std::optional<int> ChildProcess::status() const {
    const std::lock_guard lock{mutex_};
    return status_;
}

void ChildProcess::stop() {
    const std::lock_guard lock{mutex_};
    if (stopped_) return;
    if (!reap(WNOHANG)) throw std::logic_error("cannot stop a process that has ended");
    ::kill(pid_, SIGSTOP);
    if (!reap(WUNTRACED)) throw std::runtime_error("the process ended instead of stopping");
    stopped_ = true;
}

void ChildProcess::resume() {
    const std::lock_guard lock{mutex_};
    if (pid_ != 0) ::kill(pid_, SIGCONT);
    stopped_ = false;
}

void ChildProcess::kill() {
    const std::lock_guard lock{mutex_};
    if (!reap(WNOHANG)) return;
    ::kill(pid_, SIGKILL);
    reap(0);
}

void ChildProcess::terminate(std::chrono::milliseconds grace) {
    {
        const std::lock_guard lock{mutex_};
        if (!reap(WNOHANG)) return;
        ::kill(pid_, SIGTERM);
        ::kill(pid_, SIGCONT);
        stopped_ = false;
    }
    if (!eventually(grace, [this] { return !running(); })) kill();
}

bool ChildProcess::reap(int flags) {
    if (pid_ == 0) return false;
    int status = 0;
    pid_t changed = 0;
    do {
        changed = ::waitpid(pid_, &status, flags);
    } while (changed < 0 && errno == EINTR);
    if (changed == 0 || (changed > 0 && WIFSTOPPED(status))) return true;
    if (changed > 0) status_ = status;
    pid_ = 0;
    stopped_ = false;
    return false;
}

}  // namespace redlock::test

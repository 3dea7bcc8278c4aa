// SPDX-License-Identifier: Apache-2.0
#include "memory/child.hpp"

#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cerrno>
#include <csignal>

#include <cstdio>
#include <exception>
#include <filesystem>
#include <functional>
#include <iterator>
#include <string>

namespace redlock::test {
namespace {

constexpr int mark_of_terminate = 111;
constexpr unsigned longest_s = 20;

[[noreturn]] void become_child(const std::function<int()>& work, pid_t parent) {
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (::getppid() != parent) ::_exit(0);
    ::alarm(longest_s);
    std::set_terminate([] { ::_exit(mark_of_terminate); });
    ::_exit(work());
}

}  // namespace

std::string ChildEnd::text() const {
    static const char* const words[] = {"returned ", "terminated ", "signal ", "hung "};
    return words[static_cast<int>(how)] + std::to_string(number);
}

ChildEnd run_in_child(const std::function<int()>& work) {
    std::fflush(nullptr);
    const pid_t parent = ::getpid();
    const pid_t child = ::fork();
    if (child == 0) become_child(work, parent);
    int status = 0;
    while (::waitpid(child, &status, 0) < 0 && errno == EINTR) {
    }
    using How = ChildEnd::How;
    if (WIFSIGNALED(status))
        return {WTERMSIG(status) == SIGALRM ? How::hung : How::signalled, WTERMSIG(status)};
    const int number = WEXITSTATUS(status);
    return {number == mark_of_terminate ? How::terminated : How::returned, number};
}

long open_descriptors() {
    const std::filesystem::directory_iterator all{"/proc/self/fd"};
    return std::distance(begin(all), end(all)) - 1;  // the directory itself
}

}  // namespace redlock::test

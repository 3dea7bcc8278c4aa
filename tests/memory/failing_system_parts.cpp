// SPDX-License-Identifier: Apache-2.0
#include "memory/failing_system.hpp"

#include <dlfcn.h>
#include <pthread.h>
#include <sys/socket.h>
#include <sys/types.h>

#include <array>
#include <atomic>
#include <cerrno>
#include <cstddef>

namespace redlock::test {
namespace {

struct Rule {
    std::atomic<int> error{0};  // 0: there is none
    std::atomic<long> left{0};  // calls until it fails
    std::atomic<bool> only_once{false};
    std::atomic<bool> has_refused{false};
};

[[nodiscard]] Rule& rule_of(SystemCall call) {
    static std::array<Rule, 4> rules;
    return rules.at(static_cast<std::size_t>(call));
}

// The error to fail with, or 0.
[[nodiscard]] int error_of(SystemCall call) {
    Rule& rule = rule_of(call);
    if (rule.error == 0) return 0;
    const long left = rule.left--;
    if (rule.only_once ? left != 0 : left > 0) return 0;
    rule.has_refused = true;
    return rule.error;
}

template <class Function>
[[nodiscard]] Function real(const char* name) {
    return reinterpret_cast<Function>(::dlsym(RTLD_NEXT, name));
}

}  // namespace

Refused::Refused(SystemCall call, int error, long after, bool only_once) : call_{call} {
    Rule& rule = rule_of(call);
    rule.left = after;
    rule.only_once = only_once;
    rule.has_refused = false;
    rule.error = error;
}

Refused::~Refused() { rule_of(call_).error = 0; }

bool Refused::has_refused() const { return rule_of(call_).has_refused; }

}  // namespace redlock::test

using redlock::test::error_of;
using redlock::test::real;
using redlock::test::SystemCall;

extern "C" {

int socket(int domain, int type, int protocol) noexcept {
    static const auto next = real<decltype(&socket)>("socket");
    if (const int error = error_of(SystemCall::socket); error != 0) return errno = error, -1;
    return next(domain, type, protocol);
}

ssize_t send(int fd, const void* bytes, std::size_t size, int flags) {
    static const auto next = real<decltype(&send)>("send");
    if (const int error = error_of(SystemCall::send); error != 0) return errno = error, -1;
    return next(fd, bytes, size, flags);
}

ssize_t recv(int fd, void* bytes, std::size_t size, int flags) {
    static const auto next = real<decltype(&recv)>("recv");
    if (const int error = error_of(SystemCall::recv); error != 0) return errno = error, -1;
    return next(fd, bytes, size, flags);
}

int pthread_create(pthread_t* thread, const pthread_attr_t* attributes, void* (*run)(void*),
                   void* argument) noexcept {
    static const auto next = real<decltype(&pthread_create)>("pthread_create");
    if (const int error = error_of(SystemCall::pthread_create); error != 0) return error;
    return next(thread, attributes, run, argument);
}

}  // extern "C"

// SPDX-License-Identifier: Apache-2.0
// A second translation unit of the same program: what the headers define must link twice.
#include <redlock/redlock.hpp>

#include <chrono>
#include <string>

std::string try_it(redlock::Redlock& locks, std::chrono::milliseconds ttl);

std::string try_it(redlock::Redlock& locks, std::chrono::milliseconds ttl) {
    auto lock = locks.try_lock("orders/43", ttl);
    return lock ? std::string{"locked"} : lock.error().message();
}

// SPDX-License-Identifier: Apache-2.0
// expected: use of deleted function|attempt to use a deleted function|call to deleted member function
#include <redlock/redlock.hpp>

#include <chrono>

bool work(redlock::Redlock& locks) {
    using namespace std::chrono_literals;
#ifdef RIGHT
    const auto lock = locks.lock("orders/42", {.ttl = 5s});
    return lock.has_value();
#else
    return locks.lock("orders/42", {.ttl = 5s}).has_value();
#endif
}

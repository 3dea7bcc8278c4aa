// SPDX-License-Identifier: Apache-2.0
// expected: nodiscard
#include <redlock/redlock.hpp>

#include <chrono>

void work(redlock::Lock& lock) {
    using namespace std::chrono_literals;
#ifdef RIGHT
    if (!lock.extend(5s)) return;
#else
    lock.extend(5s);
#endif
}

// SPDX-License-Identifier: Apache-2.0
// expected: use of deleted function|attempt to use a deleted function
#include <redlock/redlock.hpp>

#include <chrono>

int work(redlock::Redlock& locks) {
    using namespace std::chrono_literals;
#ifdef RIGHT
    if (auto lock = locks.try_lock("orders/42", 5s)) return 1;
#else
    if (locks.try_lock("orders/42", 5s)) return 1;  // without the lock, which is given up by now
#endif
    return 0;
}

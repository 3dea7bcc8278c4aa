// SPDX-License-Identifier: Apache-2.0
// The smallest use.
#include <redlock/redlock.hpp>

#include <chrono>
#include <cstdio>

int main() {
    using namespace std::chrono_literals;
    redlock::Redlock locks{{"redis://10.0.0.1:6379", "redis://10.0.0.2:6379", "redis://10.0.0.3:6379"}};
    auto lock = locks.try_lock("orders/42", 10s);
    if (!lock) {
        std::puts(lock.error().message().c_str());
        return 1;
    }
    return 0;
}

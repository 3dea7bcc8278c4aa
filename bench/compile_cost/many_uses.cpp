// SPDX-License-Identifier: Apache-2.0
// Uses most of the library: waits for a lock and renews it, locks two resources at once, and has a mutex.
#include <redlock/mutex.hpp>
#include <redlock/redlock.hpp>

#include <chrono>
#include <cstdio>
#include <mutex>
#include <stop_token>

int main() {
    using namespace std::chrono_literals;
    redlock::Redlock locks{{"redis://10.0.0.1:6379", "redis://10.0.0.2:6379", "redis://10.0.0.3:6379"}};

    auto renewed = locks.lock("orders/42", {.ttl = 10s, .wait = 2s, .renew = true});
    if (!renewed) {
        std::puts(renewed.error().message().c_str());
        return 1;
    }
    const std::stop_token lost = renewed->lost();
    if (lost.stop_requested() || !renewed->extend(20s)) return 1;

    auto both = locks.try_lock({"account/1", "account/2"}, 5s);
    if (!both) return 1;

    redlock::Mutex mutex{locks, "orders/43", {.ttl = 10s}};
    const std::scoped_lock guard{mutex};
    return renewed->unlock() ? 0 : 1;
}

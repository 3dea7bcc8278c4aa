// SPDX-License-Identifier: Apache-2.0
// The README's example as a program:  quickstart URI,URI,...

#include <chrono>
#include <cstdint>
#include <exception>
#include <iostream>
#include <mutex>
#include <stdexcept>
#include <stop_token>
#include <string>
#include <string_view>
#include <vector>

#include <redlock/inspect.hpp>
#include <redlock/mutex.hpp>
#include <redlock/redlock.hpp>

namespace {

void ship(std::string_view order, std::uint64_t fencing_token) {
    std::cout << "shipping " << order << ", fencing token " << fencing_token << '\n';
}

void send_parcel(int number) { std::cout << "parcel " << number << " is sent\n"; }

void transfer(std::string_view from, std::string_view to) {
    std::cout << "both are locked: from " << from << " to " << to << '\n';
}

void quickstart(const std::string& nodes) {
    // [quickstart]
    using namespace std::chrono_literals;

    // For example "redis://10.0.0.1:6379,redis://10.0.0.2:6379,redis://10.0.0.3:6379". Connects when used.
    redlock::Redlock locks{nodes};

    // One attempt, one round trip. Held until the end of the scope, and never longer than 10 s.
    if (auto lock = locks.try_lock("orders/42", 10s)) {
        ship("orders/42", lock->fencing_token());
    } else {
        std::cerr << lock.error().message() << '\n';  // contended? unreachable? and what each node said
    }

    // Tries for 2 s; then keeps the lock for as long as the work takes, and says when it is lost.
    if (auto lock = locks.lock("orders/42", {.ttl = 10s, .wait = 2s, .renew = true})) {
        const std::stop_token lost = lock->lost();
        for (int parcel = 1; parcel <= 3 && !lost.stop_requested(); ++parcel) send_parcel(parcel);
    }

    // Both or none.
    if (auto both = locks.try_lock({"account/1", "account/2"}, 5s)) transfer("account/1", "account/2");

    // For std::scoped_lock, std::unique_lock and the like. Throws redlock::Error where it cannot lock.
    redlock::Mutex mutex{locks, "orders/42", {.ttl = 10s}};
    const std::scoped_lock guard{mutex};
    // [quickstart end]
}

// ---- for nodes that others use too ------------------------------------------------------------------
//
// An application on these nodes may use the names above, too.

const std::vector<std::string> names{"orders/42", "account/1", "account/2"};

/// Throws if one of the names is locked, or was in the last 24 hours (Options::fence_ttl).
void check_unused(redlock::Redlock& locks) {
    for (const std::string& name : names) {
        const auto seen = locks.inspect(name).value();
        for (const redlock::Inspection::Node& node : seen.nodes) {
            if (node.holder.empty() && node.fence == 0) continue;
            throw std::runtime_error{"'" + name + "' is in use on " + node.report.endpoint +
                                     ": the quickstart does not touch it"};
        }
    }
}

/// Locks the names a last time with a short fence_ttl, since the nodes keep a counter for the fence_ttl of
/// its last use.
void forget(redlock::Redlock& forgetful) {
    using namespace std::chrono_literals;
    const auto last_use = forgetful.lock(names, {.ttl = 1s, .wait = 1s});
    if (!last_use) std::cerr << last_use.error().message() << '\n';
}

}  // namespace

int main(int argc, char** argv) {
    if (argc != 2) {
        std::cerr << "usage: quickstart URI,URI,...\n";
        return 2;
    }
    try {
        redlock::Options options;
        options.fence_ttl = std::chrono::seconds{1};
        redlock::Redlock forgetful{std::string{argv[1]}, options};
        check_unused(forgetful);
        quickstart(argv[1]);
        forget(forgetful);
        return 0;
    } catch (const std::exception& error) {  // an invalid URI, or no quorum for the mutex
        std::cerr << error.what() << '\n';
        return 1;
    }
}

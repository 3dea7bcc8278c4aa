// SPDX-License-Identifier: Apache-2.0
// The smallest user: asks for a lock where nobody listens, and is told so.
#include <redlock/redlock.hpp>

#include <chrono>
#include <iostream>
#include <string>
#include <system_error>

std::string try_it(redlock::Redlock& locks, std::chrono::milliseconds ttl);

int main() {
    using namespace std::chrono_literals;

    redlock::Redlock locks{{"redis://127.0.0.1:1"}};
    auto lock = locks.try_lock("orders/42", 10s);
    if (lock) {
        std::cerr << "a lock from nobody\n";
        return 1;
    }
    std::cout << lock.error().message() << '\n' << try_it(locks, 5s) << '\n';
    try {
        static_cast<void>(lock.value());
    } catch (const std::system_error& error) {
        if (error.code() == redlock::errc::unreachable) return 0;
        std::cerr << "another code: " << error.code() << '\n';
    }
    return 1;
}

// SPDX-License-Identifier: Apache-2.0
// Waiting for a condition, never for a length of time. The only place in the tests that sleeps between polls.
#pragma once

#include <chrono>
#include <thread>
#include <utility>

namespace redlock::test {

// How long a test waits for something that should happen soon.
inline constexpr std::chrono::seconds patience{20};

// True as soon as `predicate()` is; false if it still is not after `longest`.
template <class Predicate>
[[nodiscard]] bool eventually(std::chrono::nanoseconds longest, Predicate&& predicate) {
    const auto deadline = std::chrono::steady_clock::now() + longest;
    auto pause = std::chrono::microseconds{50};
    constexpr std::chrono::microseconds longest_pause{1000};
    while (!predicate()) {
        if (std::chrono::steady_clock::now() >= deadline) return predicate();
        std::this_thread::sleep_for(pause);
        pause = pause * 2 < longest_pause ? pause * 2 : longest_pause;
    }
    return true;
}

}  // namespace redlock::test

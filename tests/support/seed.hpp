// SPDX-License-Identifier: Apache-2.0
// Seeds of randomised tests: new in every run, printed at the start, and set from outside to repeat a run.
#pragma once

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <random>

namespace redlock::test {

// The value of the environment variable; otherwise a new seed, short enough to be read and copied.
[[nodiscard]] inline std::uint64_t seed_from(const char* variable) {
    if (const char* given = std::getenv(variable)) return std::strtoull(given, nullptr, 10);
    constexpr unsigned bits = 20;
    std::random_device random;
    return (std::uint64_t{random()} << bits) + (random() >> (32 - bits));
}

// For a test with real threads and nodes: the same seed gives the same random numbers, but not the same run.
[[nodiscard]] inline std::uint32_t told_seed(const char* what) {
    const auto seed = static_cast<std::uint32_t>(seed_from("REDLOCK_STRESS_SEED"));
    std::printf("%s: REDLOCK_STRESS_SEED=%u\n", what, seed);
    std::fflush(stdout);
    return seed;
}

}  // namespace redlock::test

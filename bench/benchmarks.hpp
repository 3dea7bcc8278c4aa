// SPDX-License-Identifier: Apache-2.0
// The functions with which each source file registers its benchmarks.
#pragma once

#include <optional>

namespace redlock::bench {

void register_leases();
void register_lock_unlock();
void register_threads();
void register_contention();

// If this program was started as a contender, runs as one and returns the exit status.
[[nodiscard]] std::optional<int> run_contender(int argc, char** argv);

}  // namespace redlock::bench

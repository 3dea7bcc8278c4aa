// SPDX-License-Identifier: Apache-2.0
// What each source file registers.
#pragma once

#include <optional>

namespace redlock::bench {

void register_leases();
void register_lock_unlock();
void register_threads();
void register_contention();

// If this program was started as a contender of the benchmarks of contention: its exit status.
[[nodiscard]] std::optional<int> run_contender(int argc, char** argv);

}  // namespace redlock::bench

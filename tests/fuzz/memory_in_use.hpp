// SPDX-License-Identifier: Apache-2.0
// How much memory the process has allocated, so that a target can tell what a call takes.
#pragma once

#include <cstddef>

#include "support/sanitizers.hpp"

#if REDLOCK_TEST_IS_SANITIZED
// Of the sanitizers' runtimes; not every distribution's g++ has the header.
extern "C" std::size_t __sanitizer_get_current_allocated_bytes();  // NOLINT(bugprone-reserved-identifier)
#elif defined(__GLIBC__)
#include <malloc.h>
#endif

namespace redlock::test {

/// 0 where it cannot be told.
[[nodiscard]] inline std::size_t memory_in_use() {
#if REDLOCK_TEST_IS_SANITIZED
    return __sanitizer_get_current_allocated_bytes();
#elif defined(__GLIBC__)
    const auto known = ::mallinfo2();
    return known.uordblks + known.hblkhd;
#else
    return 0;
#endif
}

}  // namespace redlock::test

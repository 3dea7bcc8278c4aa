// SPDX-License-Identifier: Apache-2.0
// Whether a lock was acquired, for tests that do not keep it: a temporary Result<Lock> cannot be tested.
#pragma once

#include "redlock/result.hpp"

namespace redlock::test {

// Releases the lock at once.
template <class Lock>
[[nodiscard]] bool got(const Result<Lock>& result) noexcept {
    return result.has_value();
}

}  // namespace redlock::test

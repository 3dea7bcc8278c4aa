// SPDX-License-Identifier: Apache-2.0
// Whether a lock was to be had, where it need not be kept: a Result of one is not tested as a temporary.
#pragma once

#include "redlock/result.hpp"

namespace redlock::test {

// Gives it up at once.
template <class Lock>
[[nodiscard]] bool got(const Result<Lock>& result) noexcept {
    return result.has_value();
}

}  // namespace redlock::test

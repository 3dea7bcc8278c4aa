// SPDX-License-Identifier: Apache-2.0
// One client process: threads that lock, hold, extend, hand over and release until SIGTERM.
#pragma once

#include "chaos/settings.hpp"

namespace redlock::chaos {

// Returns the exit status: 0 when it was told to end.
int run_client(const ClientSettings& settings);

}  // namespace redlock::chaos

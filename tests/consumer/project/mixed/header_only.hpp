// SPDX-License-Identifier: Apache-2.0
// What the header-only unit of the program does for the unit that uses the compiled library.
#pragma once

#include <redlock/redlock.hpp>

#include <string>
#include <system_error>

namespace header_only {

/// With a Redlock of its own, which ends before the lock does.
redlock::Result<redlock::Lock> acquire(const std::string& node, const std::string& resource);

redlock::Result<void> extend_and_unlock(redlock::Lock lock);

const std::error_category& error_category();

[[noreturn]] void throw_contended();

}  // namespace header_only

// SPDX-License-Identifier: Apache-2.0
// The unit that includes the library's definitions.
#include "header_only.hpp"

#include <redlock/redlock.hpp>

#include <chrono>
#include <string>
#include <system_error>

#ifdef REDLOCK_COMPILED
#error "the macro of the compiled library is set in a unit that does not link it"
#endif

namespace header_only {

using namespace std::chrono_literals;

redlock::Result<redlock::Lock> acquire(const std::string& node, const std::string& resource) {
    redlock::Redlock locks{node};
    return locks.lock(resource, {.ttl = 30s, .wait = 10s});
}

redlock::Result<void> extend_and_unlock(redlock::Lock lock) {
    auto extended = lock.extend(40s);
    return extended ? lock.unlock() : extended;
}

const std::error_category& error_category() { return redlock::error_category(); }

void throw_contended() { throw redlock::Error{redlock::Failure{redlock::errc::contended}}; }

}  // namespace header_only

// SPDX-License-Identifier: Apache-2.0
// expected: no matching function|no matching constructor
#include <redlock/redlock.hpp>

void work() {
#ifdef RIGHT
    const redlock::Redlock locks{"redis://a", {.client_name = "billing"}};
#else
    const redlock::Redlock locks{"redis://a", {"redis://b"}};  // the options, whose first is no text
#endif
}

// SPDX-License-Identifier: Apache-2.0
// The header and no use of it, as in a file whose own header names a lock.
#include <redlock/redlock.hpp>

int main() { return 0; }

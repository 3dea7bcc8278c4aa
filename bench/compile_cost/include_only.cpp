// SPDX-License-Identifier: Apache-2.0
// Includes the header without using it, as a file does whose own header names a lock.
#include <redlock/redlock.hpp>

int main() { return 0; }

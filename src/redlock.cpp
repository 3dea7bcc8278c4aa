// SPDX-License-Identifier: Apache-2.0
// The compiled library: target redlock::compiled.
#include "redlock/src.hpp"

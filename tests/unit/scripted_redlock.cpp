// SPDX-License-Identifier: Apache-2.0
// The library over the scripted nodes, compiled once for all tests.
#include "unit/scripted_world.hpp"

#include "redlock/custom.hpp"

template class redlock::BasicRedlock<redlock::test::ScriptedTransport, redlock::test::ManualClock>;
template class redlock::BasicLock<redlock::test::ScriptedTransport, redlock::test::ManualClock>;
template class redlock::BasicMutex<redlock::test::ScriptedTransport, redlock::test::ManualClock>;

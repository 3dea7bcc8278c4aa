// SPDX-License-Identifier: Apache-2.0
// For a Transport or a Clock of your own: BasicRedlock, BasicLock and BasicMutex with their definitions.
// Header-only programs include these anyway; programs with the compiled library need this header for them.
#pragma once

#include "redlock/mutex.hpp"
#include "redlock/redlock.hpp"

#include "redlock/impl/endpoint.hpp"
#include "redlock/impl/handoff.hpp"
#include "redlock/impl/lock.hpp"
#include "redlock/impl/mutex.hpp"
#include "redlock/impl/options.hpp"
#include "redlock/impl/redlock.hpp"
#include "redlock/impl/result.hpp"

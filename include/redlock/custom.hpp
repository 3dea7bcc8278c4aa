// SPDX-License-Identifier: Apache-2.0
// For a Transport or a Clock of one's own: BasicRedlock, BasicLock and BasicMutex with all that they are made
// of. Header-only programs have that anyway; with the compiled library it is not included otherwise.
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

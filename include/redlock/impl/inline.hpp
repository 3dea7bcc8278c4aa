// SPDX-License-Identifier: Apache-2.0
// A function that a header defines is inline; in the compiled library, which defines it once, it is not.
#pragma once

#ifdef REDLOCK_SOURCE
#define REDLOCK_INLINE
#else
#define REDLOCK_INLINE inline
#endif

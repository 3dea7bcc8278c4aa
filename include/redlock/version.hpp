// SPDX-License-Identifier: Apache-2.0
// The version of the library, and what it needs of the compiler. Included by all that throws.
#pragma once

#if __cplusplus < 202002L
#error "redlock needs C++20, as with -std=c++20; all further errors come of that"
#endif

#ifndef __cpp_exceptions
#error "redlock needs exceptions, which -fno-exceptions forbids; all further errors come of that"
#endif

#define REDLOCK_VERSION_MAJOR 0
#define REDLOCK_VERSION_MINOR 1
#define REDLOCK_VERSION_PATCH 0
#define REDLOCK_VERSION "0.1.0"

// SPDX-License-Identifier: Apache-2.0
// Whether this is built with AddressSanitizer or ThreadSanitizer, which have a pthread_create and an operator
// new of their own, and do not know the threads of a forked child.
#pragma once

#if defined(__SANITIZE_THREAD__) || defined(__SANITIZE_ADDRESS__)
#define REDLOCK_TEST_IS_SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer) || __has_feature(address_sanitizer)
#define REDLOCK_TEST_IS_SANITIZED 1
#endif
#endif
#ifndef REDLOCK_TEST_IS_SANITIZED
#define REDLOCK_TEST_IS_SANITIZED 0
#endif

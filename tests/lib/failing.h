/*
 * Out of memory, on demand: a program that links this has its malloc and kin replaced, libraries
 * included, and can let any one allocation fail. Sanitizers bring their own allocators, so it does
 * nothing in their builds: FAILING_AVAILABLE is 0 and tests skip.
 */
#ifndef MD_TESTS_FAILING_H
#define MD_TESTS_FAILING_H

#include <stdbool.h>

#include "base/status.h"

#if defined(__has_feature) /* clang */
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define FAILING_AVAILABLE 0
#endif
#elif defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__) /* GCC */
#define FAILING_AVAILABLE 0
#endif
#ifndef FAILING_AVAILABLE
#define FAILING_AVAILABLE 1
#endif

/*
 * Runs operation, which frees all that it makes, with its allocation number `allowed` (from 0)
 * failing. Returns whether there was such an allocation; *kept receives how many blocks more than
 * before are allocated afterwards.
 */
bool failing_run(enum md_status (*operation)(void), int allowed, enum md_status *status,
                 long *kept);

#endif

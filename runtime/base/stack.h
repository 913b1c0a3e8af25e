/*
 * Calls on a stack of known size. Threads that a library starts for us may have little:
 * some 100 KB, which a few nested Lua callbacks or one kernel can exhaust, and an exhausted stack
 * ends the process.
 */
#ifndef MD_BASE_STACK_H
#define MD_BASE_STACK_H

#include <stddef.h>
#include <stdint.h>

#include "base/status.h"

#define MD_STACK_BYTES ((size_t)16 << 20) /* address space; memory only as far as it is used */

/*
 * Runs run(context) on MD_STACK_BYTES of stack and waits for its end. It runs on a thread that the
 * calling one keeps for this until it ends itself, so a call costs two switches of threads.
 * MD_ERR_UNAVAILABLE: that thread cannot be made, and nothing was run.
 */
enum md_status md_stack_call(void (*run)(void *context), void *context, struct md_error *err);
/* The calling thread was made with that much stack: md_stack_call then runs things right there. */
void md_stack_declare(void);

/* The lowest address that code of this thread which may nest any deeper should go down to: what
 * lies below, a quarter of the stack, is for what it calls. 0: not known. */
uintptr_t md_stack_low(void);

#endif

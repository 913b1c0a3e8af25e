/*
 * A sampling profiler of this process: every few milliseconds it looks at what each thread is doing
 * (the stage stacks of span.h) and counts equal answers. It sends no signals and stops nobody.
 *
 * Only a thread itself can tell what lies below its stages, such as the functions of a script. In a
 * stage named MD_PROFILE_LUA it is asked to: md_profile_wanted becomes true, and where it is safe
 * the thread answers with md_profile_add. A thread that has not come to it by the next look counts
 * as being in C, called from there.
 */
#ifndef MD_BASE_PROFILE_H
#define MD_BASE_PROFILE_H

#include "base/buffer.h"
#include "base/span.h"
#include "base/status.h"

#define MD_PROFILE_LUA         "lua"
#define MD_PROFILE_SECONDS_MAX 60

enum md_profile_form {
    MD_PROFILE_FOLDED, /* a line "stage;stage;function 12" for each stack: flame graph tools */
    MD_PROFILE_SVG     /* the flame graph itself */
};

/*
 * Samples the other threads for some seconds of real time and appends the result. Blocks. *stop,
 * which another thread may set, ends it early; NULL: nobody will. One at a time:
 * MD_ERR_CONFLICT. MD_ERR_INVALID: not 1 to MD_PROFILE_SECONDS_MAX seconds.
 */
enum md_status md_profile_run(int seconds, enum md_profile_form form, const _Atomic bool *stop,
                              struct md_buffer *out, struct md_error *err);

/* Whether the calling thread should add a sample now; cheap. */
static inline bool md_profile_wanted(void)
{
    return atomic_load_explicit(&md_stages.wanted, memory_order_relaxed);
}

/* The sample that was wanted: frames below the thread's stages, outermost first, separated by
 * semicolons. */
void md_profile_add(const char *frames);

#endif

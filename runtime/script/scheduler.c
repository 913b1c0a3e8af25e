/* Timers and ticks. */
#include "script/generation.h"

enum md_status md_script_start(struct md_script *script, struct md_error *err)
{
    (void)err;
    atomic_store(&script->ready, true);
    return MD_OK;
}

void md_script_stop(struct md_script *script)
{
    atomic_store(&script->ready, false);
}

/* What test.c, test_fast.c, bind_test.c and reload.c share. */
#ifndef MD_SCRIPT_TEST_INTERNAL_H
#define MD_SCRIPT_TEST_INTERNAL_H

#include "script/generation.h"
#include "script/test.h"

/* The service of a case, and the state that the case itself runs on. */
struct md__test {
    struct md_clock_standing clock;
    struct md_script *script;
    struct md__state *state;
    struct md__scheduler *scheduler; /* NULL: the service has not begun */
};

/* Makes the service begin at a time: models are loaded, on_start runs. Once. injects: rules get the
 * forecasts of lua/moondial/test/inject.lua. */
enum md_status md__test_begin(struct md__test *test, int64_t start_ms, bool injects,
                              struct md_error *err);
/* Moves the clock on; what is due in between runs at its time, on this thread, and has ended. */
enum md_status md__test_advance(struct md__test *test, int64_t to_ms, struct md_error *err);

/* The files of the folder's tests/, in order of their names; false from visit ends it. Returns how
 * many were visited. */
int md__test_files(const char *dir, bool (*visit)(void *context, const char *relative),
                   void *context);
/* Reads them, so that a generation has them as they are now. */
void md__test_read(struct md__sources *sources, const char *dir);

/* test_fast.c: runs those that are fast. MD_ERR_SCRIPT: what failed, with file and line. */
enum md_status md__test_fast(struct md_generation *generation, struct md_error *err);

/* Registry: the case that is being run, as text; for messages about one that was stopped. */
extern const char md__test_note_key[];

#endif

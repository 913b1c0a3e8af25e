/*
 * The threads that write long answers. One answer at a time has them; who finds them taken writes
 * alone, which costs no more processor time.
 */
#ifndef MD_SCRIPT_WRITERS_H
#define MD_SCRIPT_WRITERS_H

#include "base/pool.h"

struct md__writers;

/* threads: of one answer, the caller's included. NULL: no memory. */
struct md__writers *md__writers_new(int threads);
void md__writers_delete(struct md__writers *writers);

/* The pool, which is the caller's until it gives it back; NULL: write alone. */
struct md_pool *md__writers_take(struct md__writers *writers);
void md__writers_give(struct md__writers *writers, struct md_pool *pool);

#endif

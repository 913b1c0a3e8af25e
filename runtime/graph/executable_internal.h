/* The executable's own state, shared with tests that need guards around every value. */
#ifndef MD_GRAPH_EXECUTABLE_INTERNAL_H
#define MD_GRAPH_EXECUTABLE_INTERNAL_H

#include "graph/pass.h"
#include "graph/plan.h"

/*
 * Checking mode, before the first plan: patterns lie between values and are verified after every
 * step; arena and scratch start as NaN. An overrun fails the run with MD_ERR_INTERNAL naming the
 * node.
 */
void md__executable_set_guards(struct md_executable *executable, bool on);

/* The plan of the last planned shapes, or NULL. */
const struct md_plan *md__executable_last_plan(const struct md_executable *executable);

/* Plans held now. */
int md__executable_plan_count(const struct md_executable *executable);

#endif

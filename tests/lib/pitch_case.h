/*
 * Operator cases with tensors that lie inside of wider ones: what kernels that say so (in their
 * `pitched`) must compute as well. Between the lines of inputs lie NaNs, between those of outputs
 * bytes that must stay.
 */
#ifndef MD_TESTS_PITCH_CASE_H
#define MD_TESTS_PITCH_CASE_H

#include "op_case.h"

/* How many instruction sets give other outputs than `expected`, or none; each is printed. */
int op_pitch_disagreements(const struct op_case *op_case, const struct op_run *expected,
                           struct md_pool *pool);

#endif

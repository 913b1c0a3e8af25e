/*
 * Graphs written as small programs, and what passes make of them:
 *
 *     x[2,3,n]; w{3,1}; a b = Split(Relu(Mul(x, w)), axis=1); y = Concat(b, a, [1.5], axis=1); -> y
 *
 * x[..] is a float32 input, whose dimensions are sizes or symbols; w{..} a constant of random
 * numbers, w{..}u8, i8 or i32 one of those integers; 2 or 0.5 in place of an argument a scalar,
 * [1,2] a list of int64, [1.5] of float32, _ an absent input. Attributes are name=1, name=0.5,
 * name='text' or name=[1,2]. Operators of other domains go by their whole names.
 */
#ifndef MD_TESTS_PROGRAMS_H
#define MD_TESTS_PROGRAMS_H

#include "graph/executable.h"

struct md_graph *program_graph(const char *program);

/*
 * Makes the graph for the best kernels with all passes on but those listed in `off` (may be NULL),
 * and for the reference without any; runs both on the same random inputs, where symbols are 5, and
 * on others, where they are 3. Outputs must agree within `tolerance` of the largest. `wanted` tells
 * how often an operator is left among the nodes with passes on, or behind a star among the steps
 * of the last plan: "Relu 1 Transpose 0 com.microsoft.FusedConv 1 *Concat 0". Values lie between
 * guards and are NaN before they are made.
 */
void program_check(const char *program, const char *wanted, const char *off, double tolerance);

/* A row of a table of such checks. */
struct program_case {
    const char *what, *program, *wanted;
};
void program_check_all(const struct program_case *cases, int count, const char *off,
                       double tolerance);

#endif

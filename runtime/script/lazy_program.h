/* What lazy.c makes, lazy_run.c and lazy_plane.c work out: formulas from inside. */
#ifndef MD_SCRIPT_LAZY_PROGRAM_H
#define MD_SCRIPT_LAZY_PROGRAM_H

#include <stdatomic.h>

#include "script/lazy.h"

enum { MD__LEAVES_MAX = 96, MD__STEPS_MAX = 160, MD__REGISTERS_MAX = 16 };

struct md__leaf {
    struct md_tensor tensor; /* a reference; without data: a number */
    float number;
    ptrdiff_t offset; /* of what is read first */
    int64_t stride[MD_RANK_MAX];
};

struct md__step {
    md_vector_body body;
    uint8_t op, operands, reg;
    int16_t in[MD_VECTOR_OPERANDS_MAX]; /* a step from 0, or ~leaf */
};

/* Leaves and steps are borrowed: of a formula, or of somebody's stack. The last step is the result;
 * without steps, the one leaf. */
struct md__program {
    struct md_shape shape;
    int leaf_count, step_count, register_count;
    struct md__leaf *leaves;
    struct md__step *steps;
};

struct md__lazy {
    struct md__program program;
    _Atomic int refs;
};

/* Adds an operand's leaves and steps to a program of the result's shape; *value: what a step has
 * `in`. The program has room for MD__LEAVES_MAX and MD__STEPS_MAX, or for all that come. */
enum md_status md__program_add(struct md__program *program, const struct md__operand *operand,
                               int16_t *value, struct md_error *err);
struct md__step md__step_of(enum md_vector_op op);
/* How many values the shape has. */
size_t md__program_count(const struct md__program *program);
/* What each step picks (a `where` whose condition stands still), or -1 where nobody reads it. */
void md__program_pick(const struct md__program *program, const struct md_plane *leaves,
                      int8_t *picks);
/* The leaf that all values are, as conditions stand; NULL: they are worked out. */
const struct md_plane *md__program_leaf(const struct md__program *program,
                                        const struct md_plane *leaves, const int8_t *picks);
/*
 * Works out rows x count values into out. leaves: where each leaf begins there, and how it goes on;
 * picks: of these leaves; registers: register_count of `size` values each.
 */
void md__program_run(const struct md__program *program, const struct md_plane *leaves,
                     const int8_t *picks, ptrdiff_t rows, ptrdiff_t count, float *registers,
                     size_t size, float *out);
enum { MD__BOUND_VALUES = 8 * MD_REDUCE_RUNS_MAX }; /* two bounds, and a product's six parts */
/*
 * The largest (sign 1) or smallest (-1) values of rows, turned as lazy_run.c turns them: value i of
 * row r of a leaf is data[i * row_stride + r * stride]. best[r]: of those that are `known`.
 * Registers hold MD__BOUND_VALUES at least. ends: room for the values at both ends of all rows.
 * False: nothing is known.
 */
bool md__program_extremes(const struct md__program *program, const struct md_plane *leaves,
                          const int8_t *picks, ptrdiff_t rows, ptrdiff_t count, float sign,
                          float *registers, size_t size, float *ends, float *best, bool *known);
const float *md__leaf_data(const struct md__leaf *leaf);

#endif

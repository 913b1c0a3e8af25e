/*
 * Formulas over tensors: how they are built, and parts of them; see lazy.h. lazy_run.c works them
 * out.
 *
 * An operation takes over the leaves and steps of its operands, so that no formula points to
 * another. Steps get registers as in a compiler: one is used again when nobody reads it any more.
 */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "script/lazy_program.h"

/* ---- shapes ---------------------------------------------------------------------------------- */

enum md_status md__broadcast(const struct md_shape *const *shapes, int count,
                             struct md_shape *shape, struct md_error *err)
{
    shape->rank = 0;
    for (int i = 0; i < count; i++)
        shape->rank = shapes[i]->rank > shape->rank ? shapes[i]->rank : shape->rank;
    for (int axis = 0; axis < shape->rank; axis++) {
        shape->dim[axis] = 1;
        for (int i = 0; i < count; i++) {
            int own = axis - (shape->rank - shapes[i]->rank);
            int64_t dim = own < 0 ? 1 : shapes[i]->dim[own];
            if (dim != 1 && shape->dim[axis] != 1 && dim != shape->dim[axis])
                return md_fail(err, MD_ERR_INVALID, "shapes do not fit: dimension %d is %d and %d",
                               axis + 1, (int)shape->dim[axis], (int)dim);
            shape->dim[axis] = dim != 1 ? dim : shape->dim[axis];
        }
    }
    return MD_OK;
}

static const struct md_shape *shape_of(const struct md__operand *operand)
{
    static const struct md_shape scalar;
    if (operand->lazy != NULL)
        return &operand->lazy->program.shape;
    return operand->tensor != NULL ? &operand->tensor->shape : &scalar;
}

/* ---- building -------------------------------------------------------------------------------- */

static bool is_number(const struct md__leaf *leaf)
{
    return leaf->tensor.data == NULL;
}

const float *md__leaf_data(const struct md__leaf *leaf)
{
    return is_number(leaf) ? &leaf->number : (const float *)leaf->tensor.data + leaf->offset;
}

static bool same_leaf(const struct md__leaf *a, const struct md__leaf *b)
{
    if (is_number(a) || is_number(b))
        return is_number(a) && is_number(b) && memcmp(&a->number, &b->number, sizeof(float)) == 0;
    return a->tensor.data == b->tensor.data && a->offset == b->offset &&
           memcmp(a->stride, b->stride, sizeof a->stride) == 0;
}

static enum md_status fail_long(struct md_error *err)
{
    return md_fail(err, MD_ERR_TOO_LARGE,
                   "a lazy tensor has at most %d steps, %d tensors and %d values in between: "
                   "work out a part of it with :tensor()",
                   MD__STEPS_MAX, MD__LEAVES_MAX, MD__REGISTERS_MAX);
}

/* Sets *value to the leaf that is there already, or is added. */
static enum md_status add_leaf(struct md__program *program, const struct md__leaf *leaf,
                               int16_t *value, struct md_error *err)
{
    for (int i = 0; i < program->leaf_count; i++)
        if (same_leaf(&program->leaves[i], leaf)) {
            *value = (int16_t)~i;
            return MD_OK;
        }
    if (program->leaf_count == MD__LEAVES_MAX)
        return fail_long(err);
    program->leaves[program->leaf_count] = *leaf;
    *value = (int16_t)~program->leaf_count++;
    return MD_OK;
}

struct md__step md__step_of(enum md_vector_op op)
{
    return (struct md__step){.body = md_vector_body_of(op),
                             .op = (uint8_t)op,
                             .operands = (uint8_t)md_vector_operands(op)};
}

static enum md_status add_step(struct md__program *program, const struct md__step *step,
                               int16_t *value, struct md_error *err)
{
    for (int i = 0; i < program->step_count; i++)
        if (program->steps[i].op == step->op &&
            memcmp(program->steps[i].in, step->in, sizeof step->in) == 0) {
            *value = (int16_t)i;
            return MD_OK;
        }
    if (program->step_count == MD__STEPS_MAX)
        return fail_long(err);
    program->steps[program->step_count] = *step;
    *value = (int16_t)program->step_count++;
    return MD_OK;
}

static struct md__leaf leaf_of_tensor(const struct md_tensor *tensor, int rank)
{
    struct md__leaf leaf = {.tensor = *tensor};
    int64_t step = 1;
    for (int axis = tensor->shape.rank - 1; axis >= 0; axis--) {
        int64_t dim = tensor->shape.dim[axis];
        leaf.stride[axis + rank - tensor->shape.rank] = dim == 1 ? 0 : step;
        step *= dim > 0 ? dim : 1;
    }
    return leaf;
}

/* Adds all of another formula, whose axes are the last ones of the program's. */
static enum md_status add_formula(struct md__program *program, const struct md__program *other,
                                  int16_t *value, struct md_error *err)
{
    int16_t leaves[MD__LEAVES_MAX], steps[MD__STEPS_MAX];
    int ahead = program->shape.rank - other->shape.rank;
    enum md_status status = MD_OK;
    for (int i = 0; i < other->leaf_count && status == MD_OK; i++) {
        struct md__leaf leaf = other->leaves[i];
        memset(leaf.stride, 0, sizeof leaf.stride);
        memcpy(leaf.stride + ahead, other->leaves[i].stride,
               (size_t)other->shape.rank * sizeof *leaf.stride);
        status = add_leaf(program, &leaf, &leaves[i], err);
    }
    for (int i = 0; i < other->step_count && status == MD_OK; i++) {
        struct md__step step = other->steps[i];
        for (int k = 0; k < step.operands; k++)
            step.in[k] = step.in[k] < 0 ? leaves[~step.in[k]] : steps[step.in[k]];
        status = add_step(program, &step, &steps[i], err);
    }
    if (status == MD_OK)
        *value = other->step_count > 0 ? steps[other->step_count - 1] : leaves[0];
    return status;
}

enum md_status md__program_add(struct md__program *program, const struct md__operand *operand,
                               int16_t *value, struct md_error *err)
{
    if (operand->lazy != NULL)
        return add_formula(program, &operand->lazy->program, value, err);
    struct md__leaf leaf = {.number = operand->number};
    if (operand->tensor != NULL)
        leaf = leaf_of_tensor(operand->tensor, program->shape.rank);
    return add_leaf(program, &leaf, value, err);
}

/* The last step that reads each one. What a `where` may pick (lazy_plane.c) is read by who reads
 * the `where`. */
static void find_last_readers(const struct md__program *program, int16_t *last)
{
    for (int i = 0; i < program->step_count; i++) {
        last[i] = INT16_MAX;
        for (int k = 0; k < program->steps[i].operands; k++)
            if (program->steps[i].in[k] >= 0)
                last[program->steps[i].in[k]] = (int16_t)i;
    }
    for (int i = program->step_count - 1; i >= 0; i--) {
        const struct md__step *step = &program->steps[i];
        for (int k = 1; step->op == MD_VECTOR_where && k < step->operands; k++)
            if (step->in[k] >= 0 && last[step->in[k]] < last[i])
                last[step->in[k]] = last[i];
    }
}

/* Gives every step a register that nobody after it reads before somebody writes it. */
static enum md_status assign_registers(struct md__program *program, struct md_error *err)
{
    int16_t last[MD__STEPS_MAX];
    unsigned used = 0;
    program->register_count = 0;
    find_last_readers(program, last);
    for (int i = 0; i < program->step_count; i++) {
        int reg = __builtin_ctz(~used);
        if (reg >= MD__REGISTERS_MAX)
            return fail_long(err);
        program->steps[i].reg = (uint8_t)reg;
        program->register_count = reg < program->register_count ? program->register_count : reg + 1;
        used |= 1u << reg; /* after the operands' have been told apart from it */
        for (int k = 0; k < i; k++)
            if (last[k] == i)
                used &= ~(1u << program->steps[k].reg);
    }
    return MD_OK;
}

/* The program's leaves and steps have room for MD__LEAVES_MAX and MD__STEPS_MAX. */
static enum md_status build(struct md__program *program, enum md_vector_op op,
                            const struct md__operand *operands, struct md_error *err)
{
    struct md__step step = md__step_of(op);
    int16_t value;
    enum md_status status = MD_OK;
    for (int k = 0; k < md_vector_operands(op) && status == MD_OK; k++)
        status = md__program_add(program, &operands[k], &step.in[k], err);
    if (status == MD_OK)
        status = add_step(program, &step, &value, err);
    /* The last step is the result, also when an earlier one is the same. */
    if (status == MD_OK && value != program->step_count - 1) {
        step = md__step_of(MD_VECTOR_copy);
        step.in[0] = value;
        status = add_step(program, &step, &value, err);
    }
    return status == MD_OK ? assign_registers(program, err) : status;
}

/* ---- formulas -------------------------------------------------------------------------------- */

/* A formula of its own with the program's leaves and steps. */
static enum md_status keep(const struct md__program *program, struct md__lazy **lazy,
                           struct md_error *err)
{
    size_t leaves = (size_t)program->leaf_count * sizeof *program->leaves;
    size_t steps = (size_t)program->step_count * sizeof *program->steps;
    struct md__lazy *kept = malloc(sizeof *kept + leaves + steps);
    if (kept == NULL)
        return md_fail(err, MD_ERR_MEMORY, "out of memory for a lazy tensor");
    kept->program = *program;
    kept->program.leaves = (struct md__leaf *)(kept + 1);
    kept->program.steps = (struct md__step *)((char *)(kept + 1) + leaves);
    memcpy(kept->program.leaves, program->leaves, leaves);
    if (steps > 0)
        memcpy(kept->program.steps, program->steps, steps);
    for (int i = 0; i < program->leaf_count; i++)
        md_owner_ref(program->leaves[i].tensor.owner);
    atomic_init(&kept->refs, 1);
    *lazy = kept;
    return MD_OK;
}

enum md_status md__lazy_of(const struct md_tensor *tensor, struct md__lazy **lazy,
                           struct md_error *err)
{
    struct md__leaf leaf = leaf_of_tensor(tensor, tensor->shape.rank);
    struct md__program program = {.shape = tensor->shape, .leaf_count = 1, .leaves = &leaf};
    return keep(&program, lazy, err);
}

enum md_status md__lazy_new(enum md_vector_op op, const struct md__operand *operands,
                            struct md__lazy **lazy, struct md_error *err)
{
    struct md__leaf leaves[MD__LEAVES_MAX];
    struct md__step steps[MD__STEPS_MAX];
    struct md__program program = {.leaves = leaves, .steps = steps};
    const struct md_shape *shapes[MD_VECTOR_OPERANDS_MAX];
    for (int k = 0; k < md_vector_operands(op); k++)
        shapes[k] = shape_of(&operands[k]);
    size_t count;
    enum md_status status = md__broadcast(shapes, md_vector_operands(op), &program.shape, err);
    if (status == MD_OK)
        status = md_shape_count(&program.shape, sizeof(float), &count, err);
    if (status == MD_OK)
        status = build(&program, op, operands, err);
    return status == MD_OK ? keep(&program, lazy, err) : status;
}

struct md__lazy *md__lazy_ref(struct md__lazy *lazy)
{
    atomic_fetch_add_explicit(&lazy->refs, 1, memory_order_relaxed);
    return lazy;
}

void md__lazy_unref(struct md__lazy *lazy)
{
    if (lazy == NULL || atomic_fetch_sub_explicit(&lazy->refs, 1, memory_order_acq_rel) != 1)
        return;
    for (int i = 0; i < lazy->program.leaf_count; i++)
        md_owner_unref(lazy->program.leaves[i].tensor.owner);
    free(lazy);
}

const struct md_shape *md__lazy_shape(const struct md__lazy *lazy)
{
    return &lazy->program.shape;
}

size_t md__lazy_bytes(const struct md__lazy *lazy)
{
    size_t bytes = sizeof *lazy;
    for (int i = 0; i < lazy->program.leaf_count; i++)
        if (!is_number(&lazy->program.leaves[i]))
            bytes += md_tensor_bytes(&lazy->program.leaves[i].tensor);
    return bytes;
}

size_t md__program_count(const struct md__program *program)
{
    size_t count;
    return md_shape_count(&program->shape, sizeof(float), &count, NULL) == MD_OK ? count : 0;
}

double md__lazy_work(const struct md__lazy *lazy)
{
    return (double)md__program_count(&lazy->program) * (1 + lazy->program.step_count);
}

/* ---- parts of a formula ---------------------------------------------------------------------- */

enum md_status md__lazy_slice(const struct md__lazy *lazy, int axis, int64_t first, int64_t count,
                              struct md__lazy **slice, struct md_error *err)
{
    struct md__leaf leaves[MD__LEAVES_MAX];
    struct md__program program = lazy->program;
    assert(axis >= 0 && axis < program.shape.rank && first >= 0 && count >= 0 &&
           first + count <= program.shape.dim[axis]);
    memcpy(leaves, program.leaves, (size_t)program.leaf_count * sizeof *leaves);
    program.leaves = leaves;
    program.shape.dim[axis] = count;
    for (int i = 0; i < program.leaf_count; i++) {
        leaves[i].offset += (ptrdiff_t)(first * leaves[i].stride[axis]);
        leaves[i].stride[axis] = count == 1 ? 0 : leaves[i].stride[axis];
    }
    return keep(&program, slice, err);
}

/* The leaf's indices of an axis, those that its strides reach of the others, in a tensor of its
 * own. */
static enum md_status gather_leaf(const struct md__leaf *leaf, const struct md_shape *shape,
                                  int axis, const int64_t *indices, int64_t count,
                                  struct md__leaf *gathered, struct md_error *err)
{
    struct md_shape own = *shape;
    int64_t at[MD_RANK_MAX] = {0};
    struct md_tensor tensor;
    for (int i = 0; i < own.rank; i++)
        own.dim[i] = i == axis ? count : leaf->stride[i] == 0 ? 1 : own.dim[i];
    enum md_status status = md_tensor_new_unset(MD_F32, &own, &tensor, err);
    if (status != MD_OK)
        return status;
    const float *from = (const float *)leaf->tensor.data + leaf->offset;
    size_t total = md_tensor_count(&tensor);
    for (size_t i = 0; i < total; i++) {
        int64_t place = 0;
        for (int k = 0; k < own.rank; k++)
            place += leaf->stride[k] * (k == axis ? indices[at[k]] : at[k]);
        ((float *)tensor.data)[i] = from[place];
        for (int k = own.rank - 1; k >= 0 && ++at[k] == own.dim[k]; k--)
            at[k] = 0;
    }
    *gathered = leaf_of_tensor(&tensor, own.rank);
    return MD_OK;
}

enum md_status md__lazy_select(const struct md__lazy *lazy, int axis, const int64_t *indices,
                               int64_t count, struct md__lazy **selected, struct md_error *err)
{
    struct md__leaf leaves[MD__LEAVES_MAX];
    bool fresh[MD__LEAVES_MAX] = {false};
    struct md__program program = lazy->program;
    enum md_status status = MD_OK;
    memcpy(leaves, program.leaves, (size_t)program.leaf_count * sizeof *leaves);
    program.leaves = leaves;
    program.shape.dim[axis] = count;
    for (int i = 0; i < program.leaf_count && status == MD_OK; i++) {
        if (leaves[i].stride[axis] == 0)
            continue; /* the same for all indices */
        status = gather_leaf(&lazy->program.leaves[i], &lazy->program.shape, axis, indices, count,
                             &leaves[i], err);
        fresh[i] = status == MD_OK;
    }
    if (status == MD_OK)
        status = keep(&program, selected, err); /* with references of its own */
    for (int i = 0; i < program.leaf_count; i++)
        if (fresh[i])
            md_owner_unref(leaves[i].tensor.owner);
    return status;
}

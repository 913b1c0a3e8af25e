/*
 * Loop and Scan: one body, run again and again.
 *
 * Both hand carried values from one iteration to the next and collect slices of others. A carried
 * value may change its shape; collected slices may not. Loop collects along the first axis and does
 * not know how often it will run, so that its collections grow; Scan knows, and may collect and
 * take slices along any axis, in either direction.
 */
#include <stdlib.h>
#include <string.h>

#include "graph/control.h"
#include "graph/graph_internal.h"

/* Slices joined along an axis. */
struct stack {
    struct md_tensor whole; /* with room for `room` slices; data NULL before the first */
    int64_t room, count;
    int64_t axis; /* of the whole; negative ones are counted from its end */
    bool backwards;
};

/* The state of one call. */
struct turns {
    const struct md__control_call *call;
    struct md_tensor *in, *out; /* of the body; in[] with an owner is ours */
    struct stack *stacks;       /* one per collected output */
    int in_count, first_carried, first_collected;
    int64_t done;
};

static enum md_status turns_init(struct turns *turns, const struct md__control_call *call,
                                 struct md_error *err)
{
    const struct md__control *control = call->control;
    const struct md_node *node = call->node;
    bool loop = node->op == MD_OP_LOOP;
    *turns = (struct turns){.call = call, .in_count = node->in_count};
    turns->first_carried = loop ? 2 : 0;
    turns->first_collected = control->carried + loop;
    turns->in = calloc((size_t)node->in_count + 1, sizeof *turns->in);
    turns->out =
        calloc((size_t)turns->first_collected + (size_t)control->collected + 1, sizeof *turns->out);
    turns->stacks = calloc((size_t)control->collected + 1, sizeof *turns->stacks);
    if (!turns->in || !turns->out || !turns->stacks)
        return md_fail(err, MD_ERR_MEMORY, "out of memory");
    for (int i = 0; i < node->in_count; i++) {
        turns->in[i] = call->in[i];
        turns->in[i].owner = NULL; /* lent */
    }
    return MD_OK;
}

static void drop(struct turns *turns, struct md_tensor *tensor)
{
    if (tensor->owner)
        md__tail_drop(turns->call->run, tensor);
}

static void turns_fini(struct turns *turns)
{
    for (int i = 0; turns->in && i < turns->in_count; i++)
        drop(turns, &turns->in[i]);
    for (int k = 0; turns->stacks && k < turns->call->control->collected; k++)
        drop(turns, &turns->stacks[k].whole);
    free(turns->in);
    free(turns->out);
    free(turns->stacks);
}

/* ---- collecting ---- */

/* Elements before and behind the axis. */
static void spans(const struct md_shape *shape, int axis, size_t *outer, size_t *inner)
{
    *outer = *inner = 1;
    for (int i = 0; i < axis; i++)
        *outer *= (size_t)shape->dim[i];
    for (int i = axis + 1; i < shape->rank; i++)
        *inner *= (size_t)shape->dim[i];
}

/* The shape of `count` slices, and where its axis is. */
static enum md_status whole_shape(const struct stack *stack, const struct md_shape *slice,
                                  int64_t count, struct md_shape *whole, int *axis,
                                  struct md_error *err)
{
    int rank = slice->rank + 1;
    if (rank > MD_RANK_MAX)
        return md_fail(err, MD_ERR_UNSUPPORTED, "collects rank %d, allowed are %d", rank,
                       MD_RANK_MAX);
    enum md_status status = md__infer_axis(stack->axis, rank, axis, err);
    if (status)
        return status;
    *whole = (struct md_shape){.rank = rank};
    for (int i = 0; i < rank; i++)
        whole->dim[i] = i == *axis ? count : slice->dim[i - (i > *axis)];
    return MD_OK;
}

static enum md_status new_whole(struct turns *turns, enum md_dtype dtype,
                                const struct md_shape *shape, struct md_tensor *whole,
                                struct md_error *err)
{
    size_t bytes;
    enum md_status status = md__shape_bytes(shape, dtype, &bytes, err);
    if (!status)
        status = md__tail_take(turns->call->run, bytes, err);
    if (status)
        return status;
    status = md_tensor_new(dtype, shape, whole, err);
    if (status)
        turns->call->run->tail.bytes -= bytes;
    return status;
}

/* Only Loop's collections grow; they lie along the first axis, so that what is there stays whole.
 */
static enum md_status grow(struct turns *turns, struct stack *stack, const struct md_tensor *slice,
                           struct md_error *err)
{
    struct md_tensor larger;
    struct md_shape shape;
    int axis;
    int64_t room = stack->room ? 2 * stack->room : 4;
    enum md_status status = whole_shape(stack, &slice->shape, room, &shape, &axis, err);
    if (!status)
        status = new_whole(turns, slice->dtype, &shape, &larger, err);
    if (status)
        return status;
    if (stack->count && md_tensor_bytes(slice))
        memcpy(larger.data, stack->whole.data, (size_t)stack->count * md_tensor_bytes(slice));
    drop(turns, &stack->whole);
    stack->whole = larger;
    stack->room = room;
    return MD_OK;
}

static enum md_status collect(struct turns *turns, int k, const struct md_tensor *slice,
                              struct md_error *err)
{
    struct stack *stack = &turns->stacks[k];
    struct md_shape shape;
    size_t outer, inner, element = md_dtype_bytes(slice->dtype);
    int axis;
    enum md_status status = MD_OK;
    if (!stack->whole.data && stack->room) { /* a room that is known before */
        status = whole_shape(stack, &slice->shape, stack->room, &shape, &axis, err);
        if (!status)
            status = new_whole(turns, slice->dtype, &shape, &stack->whole, err);
    } else if (stack->count == stack->room) {
        status = grow(turns, stack, slice, err);
    }
    if (!status)
        status = whole_shape(stack, &slice->shape, stack->room, &shape, &axis, err);
    if (status)
        return status;
    if (slice->dtype != stack->whole.dtype || !md_shape_equal(&shape, &stack->whole.shape))
        return md_fail(err, MD_ERR_INVALID,
                       "collected output %d changes its shape: %s after %lld iterations", k,
                       md__shape_text(&slice->shape).text, (long long)stack->count);
    spans(&shape, axis, &outer, &inner);
    int64_t at = stack->backwards ? stack->room - 1 - stack->count : stack->count;
    for (size_t o = 0; inner && o < outer; o++)
        memcpy((char *)stack->whole.data + (o * (size_t)stack->room + (size_t)at) * inner * element,
               (const char *)slice->data + o * inner * element, inner * element);
    stack->count++;
    return MD_OK;
}

/* What a collection without any slice looks like: known as far as the body's shapes are; sizes that
 * are not are 0. */
static enum md_status collect_nothing(struct turns *turns, struct md_error *err)
{
    const struct md__control *control = turns->call->control;
    struct md_executable *body = control->bodies[0];
    enum md_status status = md_executable_infer(body, turns->in, turns->in_count, turns->out,
                                                body->graph->output_count, err);
    for (int k = 0; !status && k < control->collected; k++) {
        const struct md_tensor *slice = &turns->out[turns->first_collected + k];
        struct md_shape shape = slice->shape, whole;
        int axis;
        if (!slice->dtype || shape.rank < 0)
            status = md_fail(err, MD_ERR_UNSUPPORTED,
                             "collected output %d of no iteration has no known type", k);
        for (int i = 0; i < shape.rank; i++)
            shape.dim[i] = shape.dim[i] < 0 ? 0 : shape.dim[i];
        if (!status)
            status = whole_shape(&turns->stacks[k], &shape, 0, &whole, &axis, err);
        if (!status)
            status = new_whole(turns, slice->dtype, &whole, &turns->stacks[k].whole, err);
    }
    memset(turns->out, 0, (size_t)body->graph->output_count * sizeof *turns->out);
    return status;
}

/* ---- iterations ---- */

static enum md_status check_limits(struct turns *turns, struct md_error *err)
{
    struct md__run *run = turns->call->run;
    if (run->iterations_left-- <= 0)
        return md_fail(err, MD_ERR_TOO_LARGE, "loops went through more iterations than allowed");
    return md__run_check(run, err);
}

/* Runs the body once; carried values move on, slices are collected. */
static enum md_status turn(struct turns *turns, struct md_error *err)
{
    const struct md__control *control = turns->call->control;
    enum md_status status = check_limits(turns, err);
    if (!status)
        status = md__body_run(turns->call, 0, turns->in, turns->in_count, turns->out, err);
    if (status)
        return md_error_context(err, "iteration %lld", (long long)turns->done);
    int first_out = turns->first_collected - control->carried;
    for (int i = 0; i < control->carried; i++) {
        drop(turns, &turns->in[turns->first_carried + i]);
        turns->in[turns->first_carried + i] = turns->out[first_out + i];
        turns->out[first_out + i] = (struct md_tensor){0};
    }
    for (int k = 0; k < control->collected; k++) {
        struct md_tensor *slice = &turns->out[turns->first_collected + k];
        if (!status)
            status = collect(turns, k, slice, err);
        drop(turns, slice);
    }
    turns->done++;
    return status;
}

/* Hands the results over; those that the node does not name are dropped later. */
static enum md_status finish(struct turns *turns, struct md_error *err)
{
    const struct md__control_call *call = turns->call;
    const struct md__control *control = call->control;
    enum md_status status = turns->done ? MD_OK : collect_nothing(turns, err);
    for (int i = 0; !status && i < control->carried && i < call->node->out_count; i++) {
        struct md_tensor *carried = &turns->in[turns->first_carried + i];
        if (carried->owner) {
            call->out[i] = *carried;
        } else {
            status = new_whole(turns, carried->dtype, &carried->shape, &call->out[i], err);
            if (!status && md_tensor_bytes(carried))
                memcpy(call->out[i].data, carried->data, md_tensor_bytes(carried));
        }
        *carried = (struct md_tensor){0};
    }
    for (int k = 0; !status && k < control->collected; k++) {
        struct stack *stack = &turns->stacks[k];
        int at = control->carried + k;
        if (at >= call->node->out_count)
            break;
        if (call->node->op == MD_OP_LOOP) { /* room that was not used: no longer counted */
            call->run->tail.bytes -= md_tensor_bytes(&stack->whole);
            stack->whole.shape.dim[0] = stack->count;
            call->run->tail.bytes += md_tensor_bytes(&stack->whole);
        }
        call->out[at] = stack->whole;
        stack->whole = (struct md_tensor){0};
    }
    return status;
}

/* ---- Loop ---- */

/* A number or a condition for the body, of the rank that it declares. */
static struct md_tensor lend_scalar(enum md_dtype dtype, int rank, void *value)
{
    return (struct md_tensor){.dtype = dtype, .shape = {rank, {1}}, .data = value};
}

static enum md_status run_loop(struct turns *turns, struct md_error *err)
{
    const struct md__control_call *call = turns->call;
    int64_t trips = INT64_MAX, iteration = 0;
    uint8_t going = true;
    enum md_status status = MD_OK;
    if (call->in[0].data)
        status = md__control_scalar(&call->in[0], MD_I64, "trip count", &trips, err);
    if (!status && call->in[1].data)
        status = md__control_scalar(&call->in[1], MD_BOOL, "condition", &going, err);
    turns->in[0] = lend_scalar(MD_I64, call->control->iteration_rank, &iteration);
    turns->in[1] = lend_scalar(MD_BOOL, call->control->condition_rank, &going);
    for (; !status && going && iteration < trips; iteration++) {
        status = turn(turns, err);
        if (!status)
            status = md__control_scalar(&turns->out[0], MD_BOOL, "body's condition", &going, err);
        drop(turns, &turns->out[0]);
    }
    return status ? status : finish(turns, err);
}

static enum md_status with_turns(const struct md__control_call *call,
                                 enum md_status (*run)(struct turns *turns, struct md_error *err),
                                 struct md_error *err)
{
    struct turns turns;
    enum md_status status = turns_init(&turns, call, err);
    if (!status)
        status = run(&turns, err);
    for (int i = 0; status && i < call->node->out_count; i++)
        if (call->out[i].owner)
            md__tail_drop(call->run, &call->out[i]);
    turns_fini(&turns);
    return status;
}

enum md_status md__loop_run(const struct md__control_call *call, struct md_error *err)
{
    return with_turns(call, run_loop, err);
}

/* ---- Scan ---- */

/* Element i of a list attribute; 0 where it is absent. */
static enum md_status list_item(const struct md_node *node, const char *name, int i, int count,
                                int64_t *item, struct md_error *err)
{
    const struct md_attr *attr = md_node_attr(node, name);
    *item = 0;
    if (!attr)
        return MD_OK;
    if (attr->type != MD_ATTR_INTS || attr->count != count)
        return md_fail(err, MD_ERR_INVALID, "attribute \"%s\" does not list %d integers", name,
                       count);
    *item = attr->ints[i];
    return MD_OK;
}

/* An input that is cut into slices. */
struct slicer {
    const struct md_tensor *whole;
    int axis;
    int64_t backwards;
};

static enum md_status read_slicer(const struct md__control_call *call, int m, struct slicer *slicer,
                                  int64_t *length, struct md_error *err)
{
    const struct md__control *control = call->control;
    int64_t axis;
    slicer->whole = &call->in[control->carried + m];
    enum md_status status =
        list_item(call->node, "scan_input_axes", m, control->scanned, &axis, err);
    if (!status)
        status = list_item(call->node, "scan_input_directions", m, control->scanned,
                           &slicer->backwards, err);
    if (!status)
        status = md__infer_axis(axis, slicer->whole->shape.rank, &slicer->axis, err);
    if (status)
        return status;
    int64_t own = slicer->whole->shape.dim[slicer->axis];
    if (m > 0 && own != *length)
        return md_fail(err, MD_ERR_INVALID, "scans %lld and %lld slices", (long long)*length,
                       (long long)own);
    *length = own;
    return MD_OK;
}

static struct md_shape slice_shape(const struct slicer *slicer)
{
    struct md_shape shape = {.rank = slicer->whole->shape.rank - 1};
    for (int i = 0; i < shape.rank; i++)
        shape.dim[i] = slicer->whole->shape.dim[i + (i >= slicer->axis)];
    return shape;
}

/* Slice `at`: a part of the whole along the first axis, else a copy in `slice`'s own memory. */
static enum md_status cut(struct turns *turns, const struct slicer *slicer, int64_t at,
                          struct md_tensor *slice, struct md_error *err)
{
    const struct md_tensor *whole = slicer->whole;
    struct md_shape shape = slice_shape(slicer);
    size_t outer, inner, element = md_dtype_bytes(whole->dtype);
    int64_t length = whole->shape.dim[slicer->axis];
    enum md_status status = MD_OK;
    spans(&whole->shape, slicer->axis, &outer, &inner);
    at = slicer->backwards ? length - 1 - at : at;
    if (outer == 1) {
        *slice = (struct md_tensor){.dtype = whole->dtype, .shape = shape};
        slice->data = (char *)whole->data + (size_t)at * inner * element;
        return MD_OK;
    }
    if (!slice->owner)
        status = new_whole(turns, whole->dtype, &shape, slice, err);
    for (size_t o = 0; !status && inner && o < outer; o++)
        memcpy((char *)slice->data + o * inner * element,
               (const char *)whole->data + (o * (size_t)length + (size_t)at) * inner * element,
               inner * element);
    return status;
}

static enum md_status prepare_stacks(struct turns *turns, int64_t length, struct md_error *err)
{
    const struct md__control_call *call = turns->call;
    int collected = call->control->collected;
    enum md_status status = MD_OK;
    for (int k = 0; !status && k < collected; k++) {
        struct stack *stack = &turns->stacks[k];
        int64_t backwards;
        status = list_item(call->node, "scan_output_axes", k, collected, &stack->axis, err);
        if (!status)
            status = list_item(call->node, "scan_output_directions", k, collected, &backwards, err);
        stack->backwards = !status && backwards;
        stack->room = length;
    }
    return status;
}

static enum md_status run_scan(struct turns *turns, struct md_error *err)
{
    const struct md__control_call *call = turns->call;
    const struct md__control *control = call->control;
    struct slicer *slicers = calloc((size_t)control->scanned + 1, sizeof *slicers);
    int64_t length = 0;
    enum md_status status = slicers ? MD_OK : md_fail(err, MD_ERR_MEMORY, "out of memory");
    for (int m = 0; !status && m < control->scanned; m++)
        status = read_slicer(call, m, &slicers[m], &length, err);
    if (!status)
        status = prepare_stacks(turns, length, err);
    for (int m = 0; !status && m < control->scanned; m++)
        turns->in[control->carried + m] =
            (struct md_tensor){.dtype = slicers[m].whole->dtype, .shape = slice_shape(&slicers[m])};
    for (int64_t at = 0; !status && at < length; at++) {
        for (int m = 0; !status && m < control->scanned; m++)
            status = cut(turns, &slicers[m], at, &turns->in[control->carried + m], err);
        if (!status)
            status = turn(turns, err);
    }
    free(slicers);
    return status ? status : finish(turns, err);
}

enum md_status md__scan_run(const struct md__control_call *call, struct md_error *err)
{
    return with_turns(call, run_scan, err);
}

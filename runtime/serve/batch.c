/*
 * Batches: several calls become one run of the executable, or one large call becomes several.
 *
 * Both directions are the same walk: the rows of all calls, laid end to end, are cut into runs of
 * at most md_model_batch_max rows. A run that is one whole call uses the call's own tensors; a
 * piece of one call uses views of them; a run of several calls copies rows together. Copying is
 * cheap beside inference (the inputs of one forecast are some 30 KB).
 *
 * When a shared run fails, its calls are run one by one, so that one call's bad luck is not its
 * neighbours'.
 */
#include <stdlib.h>
#include <string.h>

#include "base/span.h"
#include "serve/internal.h"

bool md__call_can_join(const struct md_call *first, const struct md_call *other)
{
    const struct md_model *model = first->model;

    if (other->model != model || !model->batches ||
        (first->windows.each == NULL) != (other->windows.each == NULL)) {
        return false;
    }
    for (int i = 0; i < model->input_count; i++) {
        struct md_shape a = first->inputs[i].shape, b = other->inputs[i].shape;
        if (md__model_has_rows(model, i)) {
            b.dim[0] = a.dim[0];
        } else if (first->inputs[i].data != other->inputs[i].data) {
            return false; /* shared inputs must be the same tensor */
        }
        if (!md_shape_equal(&a, &b)) {
            return false;
        }
    }
    return true;
}

static void note_kept(const struct md_model *model)
{
    struct md_kept_report report;

    md_executable_kept(model->executable, &report);
    md_metric_set(model->metrics.kept_bytes, (double)report.bytes);
    md_metric_set(model->metrics.rows_kept, (double)report.rows_kept);
    md_metric_set(model->metrics.rows_computed, (double)report.rows_computed);
    md_metric_set(model->metrics.runs_kept, (double)report.runs_kept);
    md_metric_set(model->metrics.runs_full, (double)report.runs_full);
}

static enum md_status run_once(struct md_serve *serve, struct md_model *model,
                               const struct md_tensor *inputs, int64_t rows,
                               struct md_tensor *outputs, const struct md_run_limits *limits,
                               struct md_error *err)
{
    int64_t begin, end;
    enum md_status status;
    int span;

    pthread_mutex_lock(&serve->device);
    span = md_span_begin("run");
    begin = md_monotonic_ns(serve->options.clock);
    status = md_executable_run_within(model->executable, inputs, model->input_count, outputs,
                                      model->output_count, limits, err);
    end = md_monotonic_ns(serve->options.clock);
    if (limits->windows != NULL) {
        note_kept(model);
    }
    md_span_end(span);
    pthread_mutex_unlock(&serve->device);
    serve->begin_ns = serve->begin_ns == 0 ? begin : serve->begin_ns;
    serve->end_ns = end;
    md_metric_observe(model->metrics.compute_seconds, (double)(end - begin) / 1e9);
    md_metric_observe(model->metrics.batch_rows, (double)rows);
    if (status == MD_OK) {
        md__model_note_shapes(serve, model, inputs);
    }
    return status;
}

static enum md_status run(struct md_serve *serve, struct md_model *model,
                          const struct md_tensor *inputs, int64_t rows, struct md_tensor *outputs,
                          const struct md_run_limits *limits, struct md_error *err)
{
    const struct md__fit fit = {serve, model, inputs, rows, limits, run_once};

    if (model->batches && serve->options.accelerator != NULL &&
        md_accelerator_usable(serve->options.accelerator)) {
        return md__batch_fit(&fit, outputs, err);
    }
    return run_once(serve, model, inputs, rows, outputs, limits, err);
}

/* ---- several calls in one run ---- */

/* The rows of input `port` of all calls, copied end to end. */
static enum md_status gather(const struct md_call *calls, int port, int64_t rows,
                             struct md_tensor *joined, struct md_error *err)
{
    struct md_shape shape = calls->inputs[port].shape;
    enum md_status status;
    char *to;

    if (!md__model_has_rows(calls->model, port)) {
        *joined = md_tensor_ref(&calls->inputs[port]);
        return MD_OK;
    }
    shape.dim[0] = rows;
    status = md_tensor_new(calls->inputs[port].dtype, &shape, joined, err);
    if (status != MD_OK) {
        return status;
    }
    to = joined->data;
    for (const struct md_call *call = calls; call != NULL; call = call->next) {
        size_t bytes = md_tensor_bytes(&call->inputs[port]);
        memcpy(to, call->inputs[port].data, bytes);
        to += bytes;
    }
    return MD_OK;
}

/* Every call's outputs are views of its rows. */
static enum md_status scatter(struct md_call *calls, const struct md_tensor *outputs,
                              struct md_error *err)
{
    int64_t row = 0;

    for (struct md_call *call = calls; call != NULL; call = call->next) {
        for (int i = 0; i < call->model->output_count; i++) {
            enum md_status status =
                md_tensor_rows(&outputs[i], row, call->rows, &call->outputs[i], err);
            if (status != MD_OK) {
                return status;
            }
        }
        row += call->rows;
    }
    return MD_OK;
}

/* The windows of all calls, if they have any; with no memory for them, the run is a full one. */
static struct md_window *gather_windows(const struct md_call *calls, int64_t rows,
                                        struct md_windows *joined)
{
    struct md_window *each =
        calls->windows.each != NULL ? malloc((size_t)rows * sizeof *each) : NULL;

    *joined = (struct md_windows){.each = each};
    for (const struct md_call *call = calls; each != NULL && call != NULL; call = call->next) {
        if (call->windows.each == NULL) {
            continue; /* too few for the rows, so nothing is kept */
        }
        memcpy(each + joined->count, call->windows.each,
               (size_t)call->windows.count * sizeof *each);
        joined->count += call->windows.count;
        joined->tick = joined->tick > call->windows.tick ? joined->tick : call->windows.tick;
    }
    return each;
}

static enum md_status run_joined(struct md_serve *serve, struct md_call *calls, int64_t rows,
                                 struct md_error *err)
{
    struct md_model *model = calls->model;
    struct md_tensor inputs[MD__PORTS_MAX] = {0}, outputs[MD__PORTS_MAX] = {0};
    struct md_windows windows;
    struct md_window *each = gather_windows(calls, rows, &windows);
    const struct md_run_limits limits = {.windows = each != NULL ? &windows : NULL};
    enum md_status status = MD_OK;

    for (int i = 0; i < model->input_count && status == MD_OK; i++) {
        status = gather(calls, i, rows, &inputs[i], err);
    }
    if (status == MD_OK) {
        status = run(serve, model, inputs, rows, outputs, &limits, err);
    }
    free(each);
    if (status == MD_OK) {
        status = md__rows_check(model, outputs, rows, err);
    }
    if (status == MD_OK) {
        status = scatter(calls, outputs, err);
    }
    md_tensors_unref(inputs, model->input_count);
    md_tensors_unref(outputs, model->output_count);
    return status;
}

/* ---- one call in several runs ---- */

static enum md_status run_piece(struct md_serve *serve, struct md_call *call, int64_t row,
                                int64_t rows, const struct md_run_limits *limits,
                                struct md_error *err)
{
    struct md_model *model = call->model;
    struct md_tensor inputs[MD__PORTS_MAX] = {0}, outputs[MD__PORTS_MAX] = {0};
    struct md_windows windows = call->windows;
    struct md_run_limits own = *limits;
    enum md_status status = MD_OK;

    if (own.windows != NULL) {
        windows.each += row;
        windows.count = (int)rows;
        own.windows = &windows;
    }
    status = md__rows_cut(model, call->inputs, row, rows, inputs, err);
    if (status == MD_OK) {
        status = run(serve, model, inputs, rows, outputs, &own, err);
    }
    if (status == MD_OK) {
        status = md__rows_check(model, outputs, rows, err);
    }
    if (status == MD_OK) {
        status = md__rows_place(model, outputs, row, call->rows, call->outputs, err);
    }
    md_tensors_unref(inputs, model->input_count);
    md_tensors_unref(outputs, model->output_count);
    return status;
}

/* The piece at `row` and those after it begin on the accelerator before they are asked for, where
 * they will run as they are. */
static void begin_pieces(struct md_serve *serve, const struct md_call *call, int64_t row,
                         int64_t rows)
{
    const struct md_model *model = call->model;
    bool more = true;

    if (serve->options.accelerator == NULL || rows != md__batch_bucket(rows) ||
        model->fitting_rows > 0) {
        return;
    }
    pthread_mutex_lock(&serve->device);
    row += rows * md_executable_ahead_count(model->executable);
    for (; more && rows <= call->rows - row; row += rows) {
        struct md_tensor inputs[MD__PORTS_MAX] = {0};
        more = md__rows_cut(model, call->inputs, row, rows, inputs, NULL) == MD_OK &&
               md_executable_ahead(model->executable, inputs, model->input_count);
        md_tensors_unref(inputs, model->input_count);
    }
    pthread_mutex_unlock(&serve->device);
}

static enum md_status run_alone(struct md_serve *serve, struct md_call *call, struct md_error *err)
{
    const struct md_run_limits limits = {.deadline_ns = call->deadline_ns,
                                         .cancelled = &call->abandoned,
                                         .windows =
                                             call->windows.each != NULL ? &call->windows : NULL};
    int64_t batch_max = md_model_batch_max(serve, call->model);
    enum md_status status = MD_OK;

    if (!call->model->batches || call->rows <= batch_max) {
        return run(serve, call->model, call->inputs, call->rows, call->outputs, &limits, err);
    }
    for (int64_t row = 0; row < call->rows && status == MD_OK; row += batch_max) {
        int64_t rows = call->rows - row < batch_max ? call->rows - row : batch_max;
        if (call->abandoned) {
            return md_fail(err, MD_ERR_CANCELLED, "the caller has gone");
        }
        begin_pieces(serve, call, row, batch_max);
        status = run_piece(serve, call, row, rows, &limits, err);
    }
    return status;
}

void md__batch_run(struct md_serve *serve, struct md_call *calls, int64_t rows)
{
    int span = md_span_begin("batch");
    bool done;

    serve->begin_ns = 0;
    done = calls->next != NULL && run_joined(serve, calls, rows, NULL) == MD_OK;

    for (struct md_call *call = calls, *next; call != NULL; call = next) {
        struct md_error err = {0};
        bool good;
        next = call->next;
        if (!done) {
            serve->begin_ns = 0;
            md_tensors_unref(call->outputs, call->model->output_count);
        }
        good = done || run_alone(serve, call, &err) == MD_OK;
        call->begin_ns = serve->begin_ns;
        call->end_ns = serve->end_ns;
        if (good) {
            md__call_finish(call, NULL);
        } else {
            md_tensors_unref(call->outputs, call->model->output_count);
            md__call_finish(call, &err);
        }
    }
    md_span_end(span);
}

/*
 * Fitting batches to an accelerator: their rows are padded to one of a few sizes, because what is
 * captured there serves one size each; and a batch that its memory does not hold runs in halves,
 * down to single rows, which the CPU takes when those do not fit either. Sizes that did not fit are
 * remembered until the model is loaded anew.
 *
 * Padding repeats the last row: it is a good row, so it makes no NaN, and what it gives is dropped.
 */
#include <string.h>

#include "serve/internal.h"

int64_t md__batch_bucket(int64_t rows)
{
    int64_t bucket = 1;

    if (rows > 64) {
        return (rows + 31) / 32 * 32;
    }
    if (rows > 8) {
        return (rows + 7) / 8 * 8;
    }
    while (bucket < rows) {
        bucket *= 2;
    }
    return bucket;
}

static enum md_status pad(const struct md_tensor *tensor, int64_t rows, struct md_tensor *padded,
                          struct md_error *err)
{
    struct md_shape shape = tensor->shape;
    size_t bytes = md_tensor_bytes(tensor), row = bytes / (size_t)shape.dim[0];
    int64_t have = shape.dim[0];
    enum md_status status;

    shape.dim[0] = rows;
    status = md_tensor_new_unset(tensor->dtype, &shape, padded, err);
    if (status == MD_OK) {
        memcpy(padded->data, tensor->data, bytes);
        for (int64_t i = have; i < rows; i++) {
            memcpy((char *)padded->data + (size_t)i * row, (const char *)tensor->data + bytes - row,
                   row);
        }
    }
    return status;
}

/* The inputs that have rows get `rows` of them. */
static enum md_status pad_all(const struct md_model *model, int64_t rows, struct md_tensor *inputs,
                              struct md_error *err)
{
    enum md_status status = MD_OK;

    for (int i = 0; i < model->input_count && status == MD_OK; i++) {
        if (md__model_has_rows(model, i)) {
            struct md_tensor given = inputs[i];
            inputs[i] = (struct md_tensor){0};
            status = pad(&given, rows, &inputs[i], err);
            md_tensor_unref(&given);
        }
    }
    return status;
}

/* One run of a bucket; outputs are views of its first rows. */
static enum md_status run_bucket(const struct md__fit *fit, int64_t begin, int64_t rows,
                                 struct md_tensor *outputs, struct md_error *err)
{
    const struct md_model *model = fit->model;
    struct md_tensor inputs[MD__PORTS_MAX] = {0}, made[MD__PORTS_MAX] = {0};
    struct md_run_limits limits = *fit->limits;
    int64_t padded = md__batch_bucket(rows);
    enum md_status status = md__rows_cut(model, fit->inputs, begin, rows, inputs, err);

    if (status == MD_OK && padded != rows) {
        status = pad_all(model, padded, inputs, err);
    }
    limits.small_first = rows > 1;
    if (begin > 0 || padded != rows) {
        limits.windows = NULL; /* they are of other rows */
    }
    if (status == MD_OK) {
        status = fit->run(fit->serve, fit->model, inputs, rows, made, &limits, err);
    }
    if (status == MD_OK) {
        status = md__rows_check(model, made, padded, err);
    }
    for (int i = 0; i < model->output_count && status == MD_OK; i++) {
        status = md_tensor_rows(&made[i], 0, rows, &outputs[i], err);
    }
    md_tensors_unref(inputs, model->input_count);
    md_tensors_unref(made, model->output_count);
    return status;
}

enum md_status md__batch_fit(const struct md__fit *fit, struct md_tensor *outputs,
                             struct md_error *err)
{
    struct md_model *model = fit->model;
    int64_t begin = 0;

    while (begin < fit->rows) {
        struct md_tensor piece[MD__PORTS_MAX] = {0};
        int64_t most = model->fitting_rows > 0 ? model->fitting_rows : fit->rows;
        int64_t rows = fit->rows - begin < most ? fit->rows - begin : most;
        bool whole = rows == fit->rows;
        enum md_status status = run_bucket(fit, begin, rows, whole ? outputs : piece, err);
        if (status == MD_ERR_MEMORY && rows > 1) {
            model->fitting_rows = rows / 2;
            md_tensors_unref(whole ? outputs : piece, model->output_count);
            continue;
        }
        if (status == MD_OK && !whole) {
            status = md__rows_place(model, piece, begin, fit->rows, outputs, err);
        }
        md_tensors_unref(piece, model->output_count);
        if (status != MD_OK) {
            return status;
        }
        begin += rows;
    }
    return MD_OK;
}

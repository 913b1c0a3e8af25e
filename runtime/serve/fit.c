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

/* Rows [begin, begin + count) of the inputs, `padded` rows of them; others as they are. */
static enum md_status take_rows(const struct md_model *model, const struct md_tensor *inputs,
                                int64_t begin, int64_t count, int64_t padded,
                                struct md_tensor *taken, struct md_error *err)
{
    enum md_status status = MD_OK;

    for (int i = 0; i < model->input_count && status == MD_OK; i++) {
        struct md_tensor rows;
        if (!md__model_has_rows(model, i)) {
            taken[i] = md_tensor_ref(&inputs[i]);
            continue;
        }
        status = md_tensor_rows(&inputs[i], begin, count, &rows, err);
        if (status == MD_OK && padded == count) {
            taken[i] = rows;
        } else if (status == MD_OK) {
            status = pad(&rows, padded, &taken[i], err);
            md_tensor_unref(&rows);
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
    enum md_status status = take_rows(model, fit->inputs, begin, rows, padded, inputs, err);

    limits.small_first = rows > 1;
    if (begin > 0 || padded != rows) {
        limits.windows = NULL; /* they are of other rows */
    }
    if (status == MD_OK) {
        status = fit->run(fit->serve, fit->model, inputs, rows, made, &limits, err);
    }
    for (int i = 0; i < model->output_count && status == MD_OK; i++) {
        if (made[i].shape.rank == 0 || made[i].shape.dim[0] != padded) {
            status = md_fail(err, MD_ERR_UNPROCESSABLE, "output \"%s\" does not have %lld rows",
                             model->outputs[i].name, (long long)padded);
        } else {
            status = md_tensor_rows(&made[i], 0, rows, &outputs[i], err);
        }
    }
    md_tensors_unref(inputs, model->input_count);
    md_tensors_unref(made, model->output_count);
    return status;
}

/* Puts a piece's rows in their place among all rows. */
static enum md_status place_rows(const struct md__fit *fit, int64_t begin,
                                 const struct md_tensor *piece, struct md_tensor *outputs,
                                 struct md_error *err)
{
    for (int i = 0; i < fit->model->output_count; i++) {
        struct md_shape shape = piece[i].shape;
        size_t row = md_tensor_bytes(&piece[i]) / (size_t)shape.dim[0];
        enum md_status status = MD_OK;
        shape.dim[0] = fit->rows;
        if (outputs[i].data == NULL) {
            status = md_tensor_new(piece[i].dtype, &shape, &outputs[i], err);
        }
        if (status == MD_OK && !md_shape_equal(&shape, &outputs[i].shape)) {
            status = md_fail(err, MD_ERR_UNPROCESSABLE,
                             "output \"%s\" changes its shape from batch to batch",
                             fit->model->outputs[i].name);
        }
        if (status != MD_OK) {
            return status;
        }
        memcpy((char *)outputs[i].data + (size_t)begin * row, piece[i].data,
               md_tensor_bytes(&piece[i]));
    }
    return MD_OK;
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
            status = place_rows(fit, begin, piece, outputs, err);
        }
        md_tensors_unref(piece, model->output_count);
        if (status != MD_OK) {
            return status;
        }
        begin += rows;
    }
    return MD_OK;
}

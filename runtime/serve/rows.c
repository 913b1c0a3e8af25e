/* Rows of a model's tensors, of calls as of batches; see internal.h. */
#include <string.h>

#include "serve/internal.h"

enum md_status md__rows_cut(const struct md_model *model, const struct md_tensor *inputs,
                            int64_t begin, int64_t count, struct md_tensor *cut,
                            struct md_error *err)
{
    enum md_status status = MD_OK;

    for (int i = 0; i < model->input_count && status == MD_OK; i++) {
        if (md__model_has_rows(model, i)) {
            status = md_tensor_rows(&inputs[i], begin, count, &cut[i], err);
        } else {
            cut[i] = md_tensor_ref(&inputs[i]);
        }
    }
    return status;
}

enum md_status md__rows_check(const struct md_model *model, const struct md_tensor *outputs,
                              int64_t count, struct md_error *err)
{
    for (int i = 0; i < model->output_count; i++) {
        if (outputs[i].shape.rank == 0 || outputs[i].shape.dim[0] != count) {
            return md_fail(err, MD_ERR_UNPROCESSABLE, "output \"%s\" does not have %lld rows",
                           model->outputs[i].name, (long long)count);
        }
    }
    return MD_OK;
}

enum md_status md__rows_place(const struct md_model *model, const struct md_tensor *piece,
                              int64_t begin, int64_t total, struct md_tensor *outputs,
                              struct md_error *err)
{
    for (int i = 0; i < model->output_count; i++) {
        struct md_shape shape = piece[i].shape;
        size_t bytes = md_tensor_bytes(&piece[i]), row = bytes / (size_t)shape.dim[0];
        shape.dim[0] = total;
        if (outputs[i].data == NULL) {
            enum md_status status = md_tensor_new(piece[i].dtype, &shape, &outputs[i], err);
            if (status != MD_OK) {
                return status;
            }
        }
        if (!md_shape_equal(&shape, &outputs[i].shape) || piece[i].dtype != outputs[i].dtype) {
            return md_fail(err, MD_ERR_UNPROCESSABLE,
                           "output \"%s\" changes its shape from batch to batch",
                           model->outputs[i].name);
        }
        memcpy((char *)outputs[i].data + (size_t)begin * row, piece[i].data, bytes);
    }
    return MD_OK;
}

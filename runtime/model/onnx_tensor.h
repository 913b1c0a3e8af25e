/*
 * Tensors of an ONNX file: initialisers, attribute values, sparse tensors made dense, and data in
 * other files.
 *
 * raw_data that is aligned to its element is used where it lies in the file; everything else is a
 * copy. External files must lie in the model's folder or below it: absolute paths, "..", and links
 * that lead out are refused.
 */
#ifndef MD_MODEL_ONNX_TENSOR_H
#define MD_MODEL_ONNX_TENSOR_H

#include "model/onnx_proto.h"
#include "tensor/tensor.h"

/* Where bytes come from. */
struct md__onnx_files {
    struct md_owner *model; /* keeps the model's own bytes; NULL: borrowed memory */
    const char *folder;     /* of external data; NULL: there are none to be had */
    struct md__onnx_file *opened;
    int opened_count;
    size_t copied, copied_max; /* bytes of tensors that are copies; a small file must not ask for
                                * much memory by asking often */
};

/* Frees what was opened; tensors keep the files that they need. */
void md__onnx_files_fini(struct md__onnx_files *files);

/*
 * *tensor gets a reference of its own; one that borrows (files->model is NULL) has no owner.
 * MD_ERR_CORRUPT: dimensions and data disagree. MD_ERR_UNSUPPORTED: the type or the rank.
 */
enum md_status md__onnx_tensor_read(struct md__onnx_files *files,
                                    const struct md__onnx_tensor *source, struct md_tensor *tensor,
                                    struct md_error *err);
enum md_status md__onnx_sparse_read(struct md__onnx_files *files,
                                    const struct md__onnx_sparse *source, struct md_tensor *tensor,
                                    struct md_error *err);

/* The dtype of TensorProto.DataType `number`; MD_ERR_UNSUPPORTED names types that we do not have.
 */
enum md_status md__onnx_dtype(int64_t number, enum md_dtype *dtype, struct md_error *err);

/* Opens `location` (external.c) within files->folder, once. *owner is borrowed. */
enum md_status md__onnx_external(struct md__onnx_files *files, const char *location,
                                 struct md_owner **owner, struct md_error *err);

#endif

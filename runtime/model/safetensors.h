/*
 * safetensors (huggingface/safetensors, "Format" in its README): an 8-byte little-endian header
 * length, a JSON header {name: {dtype, shape, data_offsets}}, then the data. The file is read or
 * mapped (tensor/mapping.h); tensors are views that keep it alive.
 *
 * Checked before anything is handed out: the header's length against the file and a cap (16 MB),
 * JSON (base/json_in.h), names once, offsets in range, sizes equal to shape x dtype, and the data
 * covered exactly: no overlap, no gap, nothing after the last tensor. A breach is MD_ERR_CORRUPT
 * and names the tensor; a dtype or rank that we do not have is MD_ERR_UNSUPPORTED.
 */
#ifndef MD_MODEL_SAFETENSORS_H
#define MD_MODEL_SAFETENSORS_H

#include "tensor/tensor.h"

struct md_safetensors;

enum md_status md_safetensors_open(const char *path, struct md_safetensors **file,
                                   struct md_error *err);
/* Parses borrowed memory, which must outlive the file and its tensors. */
enum md_status md_safetensors_parse(const void *bytes, size_t length, struct md_safetensors **file,
                                    struct md_error *err);
void md_safetensors_close(struct md_safetensors *file); /* tensors taken from it stay valid */
size_t md_safetensors_count(const struct md_safetensors *file);
/* Names in ascending byte order, index 0 .. count-1. */
const char *md_safetensors_name(const struct md_safetensors *file, size_t index);
/*
 * A view with its own reference. Writers before 2023 did not align data; such a tensor is a copy.
 * MD_ERR_NOT_FOUND names the tensor.
 */
enum md_status md_safetensors_get(const struct md_safetensors *file, const char *name,
                                  struct md_tensor *tensor, struct md_error *err);

#endif

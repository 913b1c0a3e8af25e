/*
 * safetensors: an 8-byte little-endian header length, a JSON header {name: {dtype, shape,
 * data_offsets}}, then the data. The file is mapped; tensors are views that keep the mapping alive.
 * Checked before anything is handed out: header length against the file and a cap (16 MB), JSON
 * depth, offsets in range, aligned to the element, not overlapping, sizes equal to shape x dtype,
 * no duplicate names, no gaps at the end.
 */
#ifndef MD_MODEL_SAFETENSORS_H
#define MD_MODEL_SAFETENSORS_H

#include "tensor/tensor.h"

struct md_safetensors;

enum md_status md_safetensors_open(const char *path, struct md_safetensors **file,
                                   struct md_error *err);
/* Parses borrowed memory, for fuzzing and tests. */
enum md_status md_safetensors_parse(const void *bytes, size_t length, struct md_safetensors **file,
                                    struct md_error *err);
void md_safetensors_close(struct md_safetensors *file); /* tensors taken from it stay valid */
size_t md_safetensors_count(const struct md_safetensors *file);
const char *md_safetensors_name(const struct md_safetensors *file, size_t index);
/* A view with its own reference; MD_ERR_NOT_FOUND names the tensor. */
enum md_status md_safetensors_get(const struct md_safetensors *file, const char *name,
                                  struct md_tensor *tensor, struct md_error *err);

#endif

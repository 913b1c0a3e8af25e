/*
 * .npy files (NumPy format 1.0 to 3.0): read by mapping, write in one go. C order, little-endian,
 * the dtypes of tensor.h. bfloat16 is read and written as float32. Every header field is checked
 * against the file's size.
 */
#ifndef MD_TENSOR_NPY_H
#define MD_TENSOR_NPY_H

#include "tensor/tensor.h"

enum md_status md_npy_read(const char *path, struct md_tensor *tensor, struct md_error *err);
/* Writes to a temporary name beside path, then renames. */
enum md_status md_npy_write(const char *path, const struct md_tensor *tensor, struct md_error *err);
/* Parses an image of a whole file in memory; the tensor borrows `bytes`. For fuzzing and tests. */
enum md_status md_npy_parse(const void *bytes, size_t length, struct md_tensor *tensor,
                            struct md_error *err);

#endif

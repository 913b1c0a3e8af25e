/*
 * .npy files (NumPy format 1.0 to 3.0, numpy/lib/format.py): C order, little-endian, the dtypes of
 * tensor.h. bfloat16, which NumPy lacks, is written as float32. Every header field is checked
 * against the file's size, which must be exact.
 *
 * A file that breaks the format is MD_ERR_CORRUPT; one that is sound but holds what we do not take
 * (another dtype or byte order, Fortran order of a matrix, rank over MD_RANK_MAX) is
 * MD_ERR_UNPROCESSABLE and says what.
 */
#ifndef MD_TENSOR_NPY_H
#define MD_TENSOR_NPY_H

#include "tensor/tensor.h"

/* Reads or maps the file (mapping.h); the tensor keeps it alive. */
enum md_status md_npy_read(const char *path, struct md_tensor *tensor, struct md_error *err);
/* The same for a reader that wants bfloat16, which files hold as float32; other dtypes stay. */
enum md_status md_npy_read_as(const char *path, enum md_dtype dtype, struct md_tensor *tensor,
                              struct md_error *err);
/* Replaces path atomically (file.h). */
enum md_status md_npy_write(const char *path, const struct md_tensor *tensor, struct md_error *err);
/*
 * Parses an image of a whole file in memory. The tensor borrows `bytes` when the data in it are
 * aligned to the element, and owns a copy when not; unref it in both cases.
 */
enum md_status md_npy_parse(const void *bytes, size_t length, struct md_tensor *tensor,
                            struct md_error *err);

/*
 * The file name of a tensor, "<name>.npy" with characters other than letters, digits, '.', '_' and
 * '-' replaced by '_'. False: it does not fit `size` bytes.
 */
bool md_npy_file_name(const char *name, char *file, size_t size);

#endif

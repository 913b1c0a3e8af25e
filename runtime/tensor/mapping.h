/*
 * A whole file as the memory of tensors. Small files (under 1 MB) are read to the heap, larger ones
 * mapped read-only, so that a model's weights are shared between processes and loaded by touching
 * them.
 *
 * Replacing a model by renaming a new file over it is always safe: the mapping keeps the old file.
 * Everything of ours that writes model and tensor files does that. Writing over a mapped file in
 * place changes weights under whoever computes with them, or takes them away: then they read as
 * zeros (the process handles SIGBUS for its mappings, for nothing else), and md_mapping_check,
 * asked after a computation, says that its results are worth nothing.
 */
#ifndef MD_TENSOR_MAPPING_H
#define MD_TENSOR_MAPPING_H

#include "tensor/tensor.h"

/* *owner has one reference; its memory starts on a 64-byte boundary. An empty file has bytes = 0.
 */
enum md_status md_mapping_open(const char *path, struct md_owner **owner, struct md_error *err);

/* Of a file that others may write to. */
bool md_mapping_is_file(const struct md_owner *owner);
/* MD_ERR_IO: the file has been cut off, or written to, since it was mapped: another size or time of
 * change. Of other memory, and of a file that is gone or replaced, it is always MD_OK. One call of
 * the operating system. */
enum md_status md_mapping_check(const struct md_owner *owner, struct md_error *err);

/*
 * The contents will not be read soon: lets go of the pages that they alone take of a mapped file.
 * Reading them brings them back. For other memory it does nothing.
 */
void md_tensor_forget(const struct md_tensor *tensor);

/*
 * Moves a heap tensor's contents to a file without a name in `folder` (NULL: /var/tmp), so that
 * md_tensor_forget can let go of them. Tensors of other memory, and small ones, stay as they are.
 */
enum md_status md_tensor_spill(struct md_tensor *tensor, const char *folder, struct md_error *err);

#endif

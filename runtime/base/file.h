/*
 * Whole files: read into a buffer under a cap, replace atomically. Only regular files are read: a
 * folder, a device or a FIFO is MD_ERR_INVALID, a missing file MD_ERR_NOT_FOUND, anything else
 * MD_ERR_IO. Texts name the path.
 */
#ifndef MD_BASE_FILE_H
#define MD_BASE_FILE_H

#include <stddef.h>
#include <sys/types.h>

#include "base/buffer.h"
#include "base/status.h"

/* Opens a regular file for reading; *fd is the caller's to close, *size its size now. */
enum md_status md_file_open(const char *path, int *fd, size_t *size, struct md_error *err);
/* Reads exactly `size` bytes at the current offset; a shorter file is MD_ERR_IO. */
enum md_status md_file_read_exact(int fd, void *data, size_t size, const char *path,
                                  struct md_error *err);
/* Appends the file to `text`; more than bytes_max bytes is MD_ERR_TOO_LARGE. */
enum md_status md_file_read(const char *path, size_t bytes_max, struct md_buffer *text,
                            struct md_error *err);

struct md_file_part {
    const void *data;
    size_t length;
};

/*
 * Writes the parts to a new file beside path, syncs it and renames it over path, so that readers
 * (and a crash) see the old file or the new one, never a piece. A failure leaves no temporary file.
 */
enum md_status md_file_replace(const char *path, const struct md_file_part *parts, int part_count,
                               struct md_error *err);
/*
 * The same for its owner only and without waiting for the disk: after a crash the file may hold
 * anything. For caches that check what they read.
 */
enum md_status md_file_replace_unsynced(const char *path, const struct md_file_part *parts,
                                        int part_count, struct md_error *err);

#endif

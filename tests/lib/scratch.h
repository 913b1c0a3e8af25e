/* Scratch folders and whole files for tests. All of these fail the test when the disk says no. */
#ifndef MD_TESTS_SCRATCH_H
#define MD_TESTS_SCRATCH_H

#include <stddef.h>

/* A new empty folder under $TMPDIR or /tmp; delete removes it with all it holds. */
char *scratch_new(void);
void scratch_delete(char *folder);

/* folder/name, in memory that the caller frees. */
char *scratch_path(const char *folder, const char *name);

void scratch_write(const char *path, const void *data, size_t length);

/* A file's content with a NUL behind it, to be freed; length may be NULL. */
char *scratch_read(const char *path, size_t *length);

#endif

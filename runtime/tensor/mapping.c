/* Files as tensor memory; see mapping.h. */
#include "tensor/mapping.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/file.h"

enum { MAP_BYTES_MIN = 1 << 20, ALIGN = 64 };

static void release_heap(struct md_owner *owner)
{
    free(owner->memory);
    free(owner);
}

static void release_mapping(struct md_owner *owner)
{
    munmap(owner->memory, owner->bytes);
    free(owner);
}

static enum md_status fill_heap(struct md_owner *owner, int fd, const char *path,
                                struct md_error *err)
{
    owner->release = release_heap;
    owner->memory = aligned_alloc(ALIGN, (owner->bytes / ALIGN + 1) * ALIGN);
    if (!owner->memory)
        return md_fail(err, MD_ERR_MEMORY, "out of memory for %s (%zu bytes)", path, owner->bytes);
    enum md_status status = md_file_read_exact(fd, owner->memory, owner->bytes, path, err);
    if (status)
        free(owner->memory);
    return status;
}

static enum md_status fill_mapping(struct md_owner *owner, int fd, const char *path,
                                   struct md_error *err)
{
    owner->release = release_mapping;
    owner->memory = mmap(NULL, owner->bytes, PROT_READ, MAP_PRIVATE, fd, 0);
    if (owner->memory == MAP_FAILED)
        return md_fail(err, MD_ERR_IO, "cannot map %s: %s", path, strerror(errno));
    return MD_OK;
}

enum md_status md_mapping_open(const char *path, struct md_owner **owner_out, struct md_error *err)
{
    *owner_out = NULL;
    int fd = -1;
    size_t bytes = 0;
    enum md_status status = md_file_open(path, &fd, &bytes, err);
    if (status)
        return status;
    struct md_owner *owner = calloc(1, sizeof *owner);
    if (!owner) {
        status = md_fail(err, MD_ERR_MEMORY, "out of memory for %s", path);
        goto out;
    }
    atomic_init(&owner->refs, 1);
    owner->bytes = bytes;
    status = bytes < MAP_BYTES_MIN ? fill_heap(owner, fd, path, err)
                                   : fill_mapping(owner, fd, path, err);
    if (status)
        free(owner);
    else
        *owner_out = owner;
out:
    close(fd);
    return status;
}

void md_tensor_forget(const struct md_tensor *tensor)
{
    const struct md_owner *owner = tensor->owner;
    if (!owner || owner->release != release_mapping)
        return;
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    uintptr_t begin = ((uintptr_t)tensor->data + page - 1) / page * page;
    uintptr_t end = ((uintptr_t)tensor->data + md_tensor_bytes(tensor)) / page * page;
    if (begin < end)
        madvise((void *)begin, end - begin, MADV_DONTNEED);
}

/* Files as tensor memory; see mapping.h. */
#include "tensor/mapping.h"

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/file.h"

enum { MAP_BYTES_MIN = 1 << 20, ALIGN = 64, SPILL_BYTES_MIN = 1 << 16 };

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

enum md_status md_tensor_spill(struct md_tensor *tensor, const char *folder, struct md_error *err)
{
    size_t bytes = md_tensor_bytes(tensor), done = 0;
    if (!tensor->owner || tensor->owner->release == release_mapping || bytes < SPILL_BYTES_MIN)
        return MD_OK;
    struct md_owner *owner = calloc(1, sizeof *owner);
    if (!owner)
        return md_fail(err, MD_ERR_MEMORY, "out of memory");
    int fd = open(folder ? folder : "/var/tmp", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
    for (ssize_t put = 1; fd >= 0 && done < bytes && put > 0; done += put > 0 ? (size_t)put : 0)
        put = write(fd, (const char *)tensor->data + done, bytes - done);
    owner->memory = done == bytes ? mmap(NULL, bytes, PROT_READ, MAP_SHARED, fd, 0) : MAP_FAILED;
    int cause = errno;
    if (fd >= 0)
        close(fd);
    if (owner->memory == MAP_FAILED) {
        free(owner);
        return md_fail(err, MD_ERR_IO, "cannot put %zu bytes of weights into %s: %s", bytes,
                       folder ? folder : "/var/tmp", strerror(cause));
    }
    atomic_init(&owner->refs, 1);
    owner->bytes = bytes;
    owner->release = release_mapping;
    struct md_tensor moved = {tensor->dtype, tensor->shape, owner->memory, owner};
    md_tensor_unref(tensor);
    *tensor = moved;
    return MD_OK;
}

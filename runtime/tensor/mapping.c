/*
 * Files as tensor memory; see mapping.h.
 *
 * A page of a mapped file that somebody has cut off answers with SIGBUS. The handler finds out
 * whose page that was in a table of what is mapped (signals may not take locks, so its entries are
 * atomics, and never move), puts zeros there, marks the mapping as lost, and lets the access go on;
 * md_mapping_check tells it afterwards. Other SIGBUS are for whoever handled them before.
 */
#include "tensor/mapping.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/file.h"

enum { MAP_BYTES_MIN = 1 << 20, ALIGN = 64, SPILL_BYTES_MIN = 1 << 16, PLACES = 4096 };

/* A mapping, for the handler; free while `end` is 0. */
struct place {
    _Atomic uintptr_t begin, end;
    _Atomic bool lost;
};

struct mapping {
    struct md_owner base;
    struct place *place; /* NULL: of a file that nobody else has */
    struct stat was;     /* the file, as it was mapped */
    char path[];
};

static struct place places[PLACES];
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER; /* of who takes a place, and `previous` */
static struct sigaction previous;
static uintptr_t page_bytes;

/* ---- cut off --------------------------------------------------------------------------------- */

/* By the bare call: sanitizers take mmap for a write to all of it, beside readers. */
static bool put_zeros(struct place *place, uintptr_t at)
{
    uintptr_t begin = at / page_bytes * page_bytes;
    size_t bytes = (atomic_load(&place->end) - begin + page_bytes - 1) / page_bytes * page_bytes;
    if (syscall(SYS_mmap, begin, bytes, PROT_READ,
                MAP_FIXED | MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0L) == -1)
        return false;
    atomic_store(&place->lost, true);
    return true;
}

static void on_bus(int number, siginfo_t *info, void *context)
{
    int before = errno;
    uintptr_t at = (uintptr_t)info->si_addr;
    bool done = false;
    (void)number;
    (void)context;
    for (int i = 0; info->si_code > 0 && i < PLACES && !done; i++)
        if (at < atomic_load(&places[i].end) && at >= atomic_load(&places[i].begin))
            done = put_zeros(&places[i], at);
    if (!done) /* the access is made again, and is theirs */
        sigaction(SIGBUS, &previous, NULL);
    errno = before;
}

/* Within the lock. Each time: libraries and test frameworks set handlers of their own. */
static void handle_bus(void)
{
    struct sigaction now, ours = {.sa_sigaction = on_bus, .sa_flags = SA_SIGINFO | SA_RESTART};
    page_bytes = (uintptr_t)sysconf(_SC_PAGESIZE);
    if (sigaction(SIGBUS, NULL, &now) == 0 && now.sa_sigaction != on_bus) {
        previous = now;
        sigaction(SIGBUS, &ours, NULL);
    }
}

/* NULL: all are taken. */
static struct place *take_place(uintptr_t begin, size_t bytes)
{
    struct place *place = NULL;
    pthread_mutex_lock(&lock);
    handle_bus();
    for (int i = 0; i < PLACES && !place; i++)
        if (atomic_load(&places[i].end) == 0)
            place = &places[i];
    if (place) {
        atomic_store(&place->lost, false);
        atomic_store(&place->begin, begin);
        atomic_store(&place->end, begin + bytes);
    }
    pthread_mutex_unlock(&lock);
    return place;
}

/* ---- files ----------------------------------------------------------------------------------- */

static void release_heap(struct md_owner *owner)
{
    free(owner->memory);
    free(owner);
}

static void release_mapping(struct md_owner *owner)
{
    struct mapping *mapping = (struct mapping *)owner;
    munmap(owner->memory, owner->bytes);
    if (mapping->place)
        atomic_store(&mapping->place->end, 0);
    free(mapping);
}

static enum md_status read_file(int fd, size_t bytes, const char *path, struct md_owner **owner,
                                struct md_error *err)
{
    struct md_owner *made = calloc(1, sizeof *made);
    void *memory = made ? aligned_alloc(ALIGN, (bytes / ALIGN + 1) * ALIGN) : NULL;
    enum md_status status = MD_OK;
    if (!memory)
        status = md_fail(err, MD_ERR_MEMORY, "out of memory for %s (%zu bytes)", path, bytes);
    if (!status)
        status = md_file_read_exact(fd, memory, bytes, path, err);
    if (status) {
        free(memory);
        free(made);
        return status;
    }
    made->memory = memory;
    made->release = release_heap;
    *owner = made;
    return MD_OK;
}

/* *owner stays NULL when it has to be read instead. */
static enum md_status map_file(int fd, size_t bytes, const char *path, struct md_owner **owner,
                               struct md_error *err)
{
    size_t length = strlen(path) + 1;
    struct mapping *made = calloc(1, sizeof *made + length);
    if (!made)
        return md_fail(err, MD_ERR_MEMORY, "out of memory for %s", path);
    memcpy(made->path, path, length);
    void *memory =
        fstat(fd, &made->was) == 0 ? mmap(NULL, bytes, PROT_READ, MAP_PRIVATE, fd, 0) : MAP_FAILED;
    if (memory == MAP_FAILED) {
        free(made);
        return md_fail(err, MD_ERR_IO, "cannot map %s: %s", path, strerror(errno));
    }
    made->place = take_place((uintptr_t)memory, bytes);
    if (!made->place) {
        munmap(memory, bytes);
        free(made);
        return MD_OK;
    }
    made->base.memory = memory;
    made->base.release = release_mapping;
    *owner = &made->base;
    return MD_OK;
}

enum md_status md_mapping_open(const char *path, struct md_owner **owner_out, struct md_error *err)
{
    *owner_out = NULL;
    int fd = -1;
    size_t bytes = 0;
    struct md_owner *owner = NULL;
    enum md_status status = md_file_open(path, &fd, &bytes, err);
    if (status)
        return status;
    if (bytes >= MAP_BYTES_MIN)
        status = map_file(fd, bytes, path, &owner, err);
    if (!status && !owner)
        status = read_file(fd, bytes, path, &owner, err);
    if (!status) {
        atomic_init(&owner->refs, 1);
        owner->bytes = bytes;
        *owner_out = owner;
    }
    close(fd);
    return status;
}

bool md_mapping_is_file(const struct md_owner *owner)
{
    return owner && owner->release == release_mapping && ((const struct mapping *)owner)->place;
}

enum md_status md_mapping_check(const struct md_owner *owner, struct md_error *err)
{
    const struct mapping *mapping = (const struct mapping *)owner;
    struct stat now;
    if (!md_mapping_is_file(owner))
        return MD_OK;
    bool changed = atomic_load(&mapping->place->lost);
    if (!changed && stat(mapping->path, &now) == 0 && now.st_dev == mapping->was.st_dev &&
        now.st_ino == mapping->was.st_ino)
        changed = now.st_size != mapping->was.st_size ||
                  now.st_mtim.tv_sec != mapping->was.st_mtim.tv_sec ||
                  now.st_mtim.tv_nsec != mapping->was.st_mtim.tv_nsec;
    if (!changed)
        return MD_OK;
    return md_fail(err, MD_ERR_IO,
                   "%.160s was written to while it was in use: load it again (a file that is "
                   "renamed over it does no harm)",
                   mapping->path);
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
    struct mapping *mapping = calloc(1, sizeof *mapping + 1);
    if (!mapping)
        return md_fail(err, MD_ERR_MEMORY, "out of memory");
    struct md_owner *owner = &mapping->base;
    int fd = open(folder ? folder : "/var/tmp", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
    for (ssize_t put = 1; fd >= 0 && done < bytes && put > 0; done += put > 0 ? (size_t)put : 0)
        put = write(fd, (const char *)tensor->data + done, bytes - done);
    owner->memory = done == bytes ? mmap(NULL, bytes, PROT_READ, MAP_SHARED, fd, 0) : MAP_FAILED;
    int cause = errno;
    if (fd >= 0)
        close(fd);
    if (owner->memory == MAP_FAILED) {
        free(mapping);
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

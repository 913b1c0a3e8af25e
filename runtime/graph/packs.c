/* The folder of packed weights: see packs.h. Files are as the machine that wrote them has them. */
#include "graph/packs.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"

#define MAGIC        "MDPACKS1"
#define SUFFIX       ".packs"
#define BLOCKS_MAX   ((uint64_t)MD_GRAPH_NODES_MAX)
#define PAGE         ((size_t)4096)
#define SMALL        ((size_t)65536) /* smaller blocks share pages */
#define LEFT_OVER_S  3600            /* what nobody renamed for so long, nobody will */
#define ALIGN        ((size_t)64)
#define ROUND(n, to) (((n) + (to)-1) / (to) * (to))

struct header {
    char magic[8];
    uint64_t count, file_bytes;
    struct md_digest key, checksum; /* checksum: of the entries */
};

struct entry {
    struct md_digest key, checksum;
    uint64_t offset, bytes;
};

struct md__packs {
    const char *memory;
    size_t bytes;
    const struct header *header;
    const struct entry *entries;
    bool *checked;
};

/* ---- reading ---- */

static bool is_mine(const struct stat *info)
{
    return info->st_uid == geteuid() && !(info->st_mode & (S_IWGRP | S_IWOTH));
}

static bool path_of(const char *folder, struct md_digest key, char path[PATH_MAX])
{
    char text[MD_HASH_TEXT];
    md_digest_text(key, text);
    return snprintf(path, PATH_MAX, "%s/%s" SUFFIX, folder, text) < PATH_MAX;
}

static bool is_sound(const struct md__packs *packs, struct md_digest key)
{
    const struct header *header = packs->header;
    if (memcmp(header->magic, MAGIC, sizeof header->magic) != 0 ||
        header->file_bytes != packs->bytes || !md_digest_equal(header->key, key) ||
        header->count > BLOCKS_MAX ||
        header->count > (packs->bytes - sizeof *header) / sizeof(struct entry))
        return false;
    size_t entries = (size_t)header->count * sizeof(struct entry);
    if (!md_digest_equal(md_hash_of(packs->entries, entries), header->checksum))
        return false;
    for (size_t i = 0; i < header->count; i++) {
        const struct entry *entry = &packs->entries[i];
        if (entry->offset % ALIGN || entry->offset < sizeof *header + entries ||
            entry->offset > packs->bytes || entry->bytes > packs->bytes - entry->offset)
            return false;
    }
    return true;
}

static const char *map_file(int folder, const char *path, size_t *bytes)
{
    struct stat own, info;
    void *memory = MAP_FAILED;
    int fd = fstat(folder, &own) == 0 && is_mine(&own)
                 ? open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK)
                 : -1;
    if (fd >= 0 && fstat(fd, &info) == 0 && S_ISREG(info.st_mode) && is_mine(&info) &&
        info.st_size >= (off_t)sizeof(struct header)) {
        *bytes = (size_t)info.st_size;
        memory = mmap(NULL, *bytes, PROT_READ, MAP_SHARED, fd, 0);
        utimensat(AT_FDCWD, path, NULL, 0); /* used now; nothing is lost when it fails */
    }
    if (fd >= 0)
        close(fd);
    return memory == MAP_FAILED ? NULL : memory;
}

struct md__packs *md__packs_open(const char *folder, struct md_digest key)
{
    char path[PATH_MAX];
    struct md__packs *packs = calloc(1, sizeof *packs);
    int at =
        packs && path_of(folder, key, path) ? open(folder, O_PATH | O_DIRECTORY | O_CLOEXEC) : -1;
    if (at >= 0) {
        packs->memory = map_file(at, path, &packs->bytes);
        close(at);
    }
    if (packs && packs->memory) {
        packs->header = (const void *)packs->memory;
        packs->entries = (const void *)(packs->memory + sizeof *packs->header);
        if (is_sound(packs, key))
            packs->checked = calloc((size_t)packs->header->count + 1, sizeof *packs->checked);
    }
    if (packs && packs->checked)
        return packs;
    md__packs_close(packs);
    return NULL;
}

void md__packs_close(struct md__packs *packs)
{
    if (!packs)
        return;
    if (packs->memory)
        munmap((void *)(uintptr_t)packs->memory, packs->bytes);
    free(packs->checked);
    free(packs);
}

const void *md__packs_find(struct md__packs *packs, struct md_digest key, size_t *bytes)
{
    for (size_t i = 0; packs && i < packs->header->count; i++) {
        const struct entry *entry = &packs->entries[i];
        if (!md_digest_equal(entry->key, key))
            continue;
        const char *data = packs->memory + entry->offset;
        *bytes = (size_t)entry->bytes;
        if (!packs->checked[i])
            packs->checked[i] = md_digest_equal(md_hash_of(data, *bytes), entry->checksum);
        return packs->checked[i] ? data : NULL;
    }
    return NULL;
}

void md__packs_forget(const void *block, size_t bytes)
{
    uintptr_t begin = ROUND((uintptr_t)block, PAGE), end = ((uintptr_t)block + bytes) / PAGE * PAGE;
    if (begin < end)
        madvise((void *)begin, end - begin, MADV_DONTNEED);
}

/* ---- writing ---- */

/* Every folder on the way, as `mkdir -p`; the last one for its owner alone. */
static enum md_status make_folder(const char *folder, struct md_error *err)
{
    char path[PATH_MAX];
    size_t length = strlen(folder);
    if (length == 0 || length >= sizeof path)
        return md_fail(err, MD_ERR_INVALID, "\"%.64s\" is no folder for packed weights", folder);
    memcpy(path, folder, length + 1);
    for (size_t i = 1; i <= length; i++) {
        if (path[i] != '/' && path[i] != '\0')
            continue;
        path[i] = '\0';
        if (mkdir(path, i == length ? 0700 : 0777) != 0 && errno != EEXIST)
            return md_fail(err, MD_ERR_IO, "cannot make the folder %s: %s", path, strerror(errno));
        if (i < length)
            path[i] = '/';
    }
    struct stat info;
    if (stat(folder, &info) != 0 || !is_mine(&info))
        return md_fail(err, MD_ERR_IO, "others could write packed weights to %s", folder);
    return MD_OK;
}

struct found {
    char name[NAME_MAX + 1];
    struct timespec used;
    size_t bytes;
};

static int by_use(const void *a, const void *b)
{
    const struct timespec *left = &((const struct found *)a)->used;
    const struct timespec *right = &((const struct found *)b)->used;
    if (left->tv_sec != right->tv_sec)
        return left->tv_sec < right->tv_sec ? -1 : 1;
    return left->tv_nsec < right->tv_nsec ? -1 : left->tv_nsec > right->tv_nsec;
}

static bool ends_with(const char *name, const char *suffix)
{
    size_t length = strlen(name), end = strlen(suffix);
    return length > end && strcmp(name + length - end, suffix) == 0;
}

/* Files of ours in the folder, the caller's to free. Removes temporary ones of writers long gone;
 * `now`: when the newest file was written. */
static struct found *list_files(DIR *folder, time_t now, size_t *count)
{
    struct found *files = NULL, *more;
    const struct dirent *item;
    size_t capacity = 0;
    *count = 0;
    while ((item = readdir(folder))) {
        struct stat info;
        bool temporary = strstr(item->d_name, SUFFIX ".") && ends_with(item->d_name, "~");
        if ((!temporary && !ends_with(item->d_name, SUFFIX)) ||
            fstatat(dirfd(folder), item->d_name, &info, AT_SYMLINK_NOFOLLOW) != 0 ||
            !S_ISREG(info.st_mode))
            continue;
        if (temporary) {
            if (info.st_mtim.tv_sec < now - LEFT_OVER_S)
                unlinkat(dirfd(folder), item->d_name, 0);
            continue;
        }
        if (*count == capacity) {
            if (!(more = realloc(files, (capacity = 2 * capacity + 16) * sizeof *files)))
                return files;
            files = more;
        }
        files[*count] = (struct found){.used = info.st_mtim, .bytes = (size_t)info.st_size};
        snprintf(files[(*count)++].name, sizeof files->name, "%s", item->d_name);
    }
    return files;
}

/* Lets the least recently used files go, but not `own`, until the folder holds bytes_max. */
static void make_room(const char *path, const char *own, size_t bytes_max)
{
    DIR *folder = opendir(path);
    struct stat info;
    size_t count, total = 0;
    if (!folder)
        return;
    time_t now = stat(own, &info) == 0 ? info.st_mtim.tv_sec : 0;
    struct found *files = list_files(folder, now, &count);
    for (size_t i = 0; i < count; i++)
        total += files[i].bytes;
    if (files)
        qsort(files, count, sizeof *files, by_use);
    for (size_t i = 0; i < count && total > bytes_max; i++) {
        if (strcmp(files[i].name, strrchr(own, '/') + 1) == 0 ||
            unlinkat(dirfd(folder), files[i].name, 0) != 0)
            continue;
        total -= files[i].bytes;
    }
    free(files);
    closedir(folder);
}

static size_t align_of(size_t bytes)
{
    return bytes < SMALL ? ALIGN : PAGE;
}

/* Where each block goes; returns the size of the file. */
static size_t lay_out(const struct md__pack *packs, size_t count, struct entry *entries)
{
    size_t at = sizeof(struct header) + count * sizeof *entries;
    for (size_t i = 0; i < count; i++) {
        at = ROUND(at, align_of(packs[i].bytes));
        entries[i] = (struct entry){.key = packs[i].key,
                                    .checksum = md_hash_of(packs[i].data, packs[i].bytes),
                                    .offset = at,
                                    .bytes = packs[i].bytes};
        at += packs[i].bytes;
    }
    return at;
}

static enum md_status write_file(const char *path, struct md_digest key,
                                 const struct md__pack *packs, size_t count, size_t bytes_max,
                                 struct md_error *err)
{
    static const char zeros[4096];
    struct entry *entries = calloc(count + 1, sizeof *entries);
    struct md_file_part *parts = calloc(2 * count + 2, sizeof *parts);
    enum md_status status = MD_OK;
    if (!entries || !parts) {
        status = md_fail(err, MD_ERR_MEMORY, "out of memory");
        goto out;
    }
    struct header header = {
        .count = count, .file_bytes = lay_out(packs, count, entries), .key = key};
    memcpy(header.magic, MAGIC, sizeof header.magic);
    header.checksum = md_hash_of(entries, count * sizeof *entries);
    if (header.file_bytes > bytes_max) {
        status = md_fail(err, MD_ERR_TOO_LARGE, "packed weights of %zu bytes; the limit is %zu",
                         (size_t)header.file_bytes, bytes_max);
        goto out;
    }
    size_t at = sizeof header + count * sizeof *entries;
    parts[0] = (struct md_file_part){&header, sizeof header};
    parts[1] = (struct md_file_part){entries, count * sizeof *entries};
    for (size_t i = 0; i < count; i++) {
        parts[2 * i + 2] = (struct md_file_part){zeros, (size_t)entries[i].offset - at};
        parts[2 * i + 3] = (struct md_file_part){packs[i].data, packs[i].bytes};
        at = (size_t)entries[i].offset + packs[i].bytes;
    }
    status = md_file_replace_unsynced(path, parts, (int)(2 * count + 2), err);
out:
    free(entries);
    free(parts);
    return status;
}

enum md_status md__packs_write(const char *folder, struct md_digest key,
                               const struct md__pack *packs, int count, size_t bytes_max,
                               struct md_error *err)
{
    char path[PATH_MAX];
    enum md_status status = make_folder(folder, err);
    if (!status && !path_of(folder, key, path))
        status = md_fail(err, MD_ERR_INVALID, "the path of %.64s is too long", folder);
    if (!status)
        status = write_file(path, key, packs, (size_t)count, bytes_max, err);
    if (!status)
        make_room(folder, path, bytes_max);
    return status;
}

/* Whole files; see file.h. */
#include "base/file.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static enum md_status fail_errno(struct md_error *err, const char *verb, const char *path,
                                 int error)
{
    enum md_status code = error == ENOENT || error == ENOTDIR ? MD_ERR_NOT_FOUND : MD_ERR_IO;
    return md_fail(err, code, "cannot %s %s: %s", verb, path, strerror(error));
}

enum md_status md_file_open(const char *path, int *fd_out, size_t *size, struct md_error *err)
{
    /*
     * O_NONBLOCK: opening a FIFO that nobody writes to must not hang. It changes nothing for
     * regular files.
     */
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0)
        return fail_errno(err, "open", path, errno);
    struct stat info;
    enum md_status status = MD_OK;
    if (fstat(fd, &info) != 0)
        status = fail_errno(err, "inspect", path, errno);
    else if (!S_ISREG(info.st_mode))
        status = md_fail(err, MD_ERR_INVALID, "%s is not a regular file", path);
    if (status) {
        close(fd);
        return status;
    }
    *fd_out = fd;
    *size = (size_t)info.st_size;
    return MD_OK;
}

enum md_status md_file_read_exact(int fd, void *data, size_t size, const char *path,
                                  struct md_error *err)
{
    for (size_t done = 0; done < size;) {
        ssize_t got = read(fd, (char *)data + done, size - done);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return fail_errno(err, "read", path, errno);
        if (got == 0)
            return md_fail(err, MD_ERR_IO, "%s became shorter while it was read", path);
        done += (size_t)got;
    }
    return MD_OK;
}

enum md_status md_file_read(const char *path, size_t bytes_max, struct md_buffer *text,
                            struct md_error *err)
{
    int fd = -1;
    size_t size = 0;
    enum md_status status = md_file_open(path, &fd, &size, err);
    if (status)
        return status;
    if (size > bytes_max) {
        status = md_fail(err, MD_ERR_TOO_LARGE, "%s has %zu bytes; the limit is %zu", path, size,
                         bytes_max);
        goto out;
    }
    if (!md_buffer_reserve(text, size)) {
        status = md_buffer_check(text, err);
        md_error_context(err, "%s", path);
        goto out;
    }
    status = md_file_read_exact(fd, text->data + text->length, size, path, err);
    if (!status)
        text->length += size;
    text->data[text->length] = '\0';
out:
    close(fd);
    return status;
}

static enum md_status write_all(int fd, const void *data, size_t length, const char *path,
                                struct md_error *err)
{
    for (size_t done = 0; done < length;) {
        ssize_t put = write(fd, (const char *)data + done, length - done);
        if (put < 0 && errno == EINTR)
            continue;
        if (put <= 0)
            return fail_errno(err, "write", path, put < 0 ? errno : ENOSPC);
        done += (size_t)put;
    }
    return MD_OK;
}

/* A name that no other thread or process uses: path.PID.N~ */
static enum md_status temporary_name(const char *path, char *name, size_t size,
                                     struct md_error *err)
{
    static _Atomic unsigned counter;
    int length =
        snprintf(name, size, "%s.%ld.%u~", path, (long)getpid(), atomic_fetch_add(&counter, 1));
    if (length < 0 || (size_t)length >= size)
        return md_fail(err, MD_ERR_INVALID, "path of %zu bytes is too long", strlen(path));
    return MD_OK;
}

static enum md_status replace(const char *path, const struct md_file_part *parts, int part_count,
                              mode_t mode, bool synced, struct md_error *err)
{
    char name[PATH_MAX];
    enum md_status status = temporary_name(path, name, sizeof name, err);
    if (status)
        return status;
    int fd = open(name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, mode);
    if (fd < 0)
        return fail_errno(err, "create", path, errno);
    for (int i = 0; i < part_count && !status; i++)
        status = write_all(fd, parts[i].data, parts[i].length, path, err);
    if (!status && synced && fsync(fd) != 0)
        status = fail_errno(err, "sync", path, errno);
    if (close(fd) != 0 && !status)
        status = fail_errno(err, "close", path, errno);
    if (!status && rename(name, path) != 0)
        status = fail_errno(err, "replace", path, errno);
    if (status)
        unlink(name);
    return status;
}

enum md_status md_file_replace(const char *path, const struct md_file_part *parts, int part_count,
                               struct md_error *err)
{
    return replace(path, parts, part_count, 0666, true, err);
}

enum md_status md_file_replace_unsynced(const char *path, const struct md_file_part *parts,
                                        int part_count, struct md_error *err)
{
    return replace(path, parts, part_count, 0600, false, err);
}

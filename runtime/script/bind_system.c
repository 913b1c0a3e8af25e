/*
 * md.file and md.process: the little of the machine that scripts may see. Reading is confined to
 * the configured read_paths, compared after links are resolved.
 */
#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "script/internal.h"

enum { CHUNK_BYTES = 65536 };

static const size_t file_bytes_max = (size_t)16 << 20;

/* ---- files ----------------------------------------------------------------------------------- */

static bool is_below(const char *path, const char *folder)
{
    char resolved[PATH_MAX];
    if (realpath(folder, resolved) == NULL)
        return false;
    size_t length = strlen(resolved);
    if (length == 1)
        return true;
    return strncmp(path, resolved, length) == 0 && (path[length] == '/' || path[length] == '\0');
}

static bool may_read(const struct md_config *config, const char *path)
{
    size_t i;
    json_t *folder;
    json_array_foreach(json_object_get(md__config_values(config), "read_paths"), i, folder)
    {
        if (json_is_string(folder) && is_below(path, json_string_value(folder)))
            return true;
    }
    return false;
}

/* Until the end, not by size: files of /proc say 0. */
static enum md_status read_all(int fd, struct md_buffer *text, struct md_error *err)
{
    for (;;) {
        if (!md_buffer_reserve(text, CHUNK_BYTES))
            return md_buffer_check(text, err);
        ssize_t got = read(fd, text->data + text->length, CHUNK_BYTES);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return md_fail(err, MD_ERR_IO, "%s", strerror(errno));
        if (got == 0)
            return MD_OK;
        text->length += (size_t)got;
    }
}

/* Opens what read_paths allow; links are resolved first, so nothing leads outside. */
static enum md_status open_allowed(const struct md_config *config, const char *path, int *fd,
                                   struct md_error *err)
{
    char resolved[PATH_MAX];
    struct stat status;
    if (realpath(path, resolved) == NULL)
        return md_fail(err, errno == ENOENT ? MD_ERR_NOT_FOUND : MD_ERR_IO, "%.150s: %s", path,
                       strerror(errno));
    if (!may_read(config, resolved))
        return md_fail(err, MD_ERR_UNAUTHORIZED, "%.150s is not below config.read_paths", path);
    *fd = open(resolved, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    if (*fd < 0)
        return md_fail(err, MD_ERR_IO, "%.150s: %s", path, strerror(errno));
    if (fstat(*fd, &status) != 0 || !S_ISREG(status.st_mode)) {
        close(*fd);
        return md_fail(err, MD_ERR_INVALID, "%.150s is not a regular file", path);
    }
    return MD_OK;
}

static int file_read(lua_State *L)
{
    int fd;
    struct md_error err;
    const char *path = luaL_checkstring(L, 1);
    md__check_acting(L, "md.file.read");
    struct md_buffer *text = md__scratch(L, file_bytes_max);
    enum md_status status = open_allowed(md__state(L)->config, path, &fd, &err);
    if (status == MD_OK) {
        status = read_all(fd, text, &err);
        close(fd);
        if (status != MD_OK)
            md_error_context(&err, "%.150s", path);
    }
    if (status != MD_OK)
        return md__return_error(L, &err);
    lua_pushlstring(L, text->data, text->length);
    md_buffer_fini(text);
    return 1;
}

/* The file system that holds path: { total_bytes, free_bytes }, free to ordinary users. */
static int file_usage(lua_State *L)
{
    struct statvfs usage;
    struct md_error err;
    const char *path = luaL_checkstring(L, 1);
    md__check_acting(L, "md.file.usage");
    if (statvfs(path, &usage) != 0) {
        md_fail(&err, MD_ERR_IO, "%.150s: %s", path, strerror(errno));
        return md__return_error(L, &err);
    }
    lua_createtable(L, 0, 2);
    md__set_number(L, "total_bytes", (double)usage.f_blocks * (double)usage.f_frsize);
    md__set_number(L, "free_bytes", (double)usage.f_bavail * (double)usage.f_frsize);
    return 1;
}

/* ---- process --------------------------------------------------------------------------------- */

/* A value of /proc/self/status, in its own unit; 0 when it cannot be read. */
static double status_field(const char *text, const char *name)
{
    const char *line = strstr(text, name);
    return line != NULL ? strtod(line + strlen(name), NULL) : 0;
}

static int process_stats(lua_State *L)
{
    char text[4096] = "";
    const struct md_script *script = md__state(L)->script;
    int fd = open("/proc/self/status", O_RDONLY | O_CLOEXEC);
    ssize_t got = fd >= 0 ? read(fd, text, sizeof text - 1) : -1;
    if (fd >= 0)
        close(fd);
    text[got > 0 ? got : 0] = '\0';
    lua_createtable(L, 0, 4);
    md__set_number(L, "rss_bytes", status_field(text, "VmRSS:") * 1024);
    md__set_number(L, "threads", status_field(text, "Threads:"));
    md__set_number(L, "uptime_s", (double)(md_now_ms(script->clock) - script->started_ms) / 1000);
    md__set_number(L, "started_ms", (double)script->started_ms);
    return 1;
}

/* ---- the binding ----------------------------------------------------------------------------- */

static void bind(lua_State *L, struct md_script *script)
{
    static const luaL_Reg file[] = {{"read", file_read}, {"usage", file_usage}, {NULL, NULL}};
    static const luaL_Reg process[] = {{"stats", process_stats}, {NULL, NULL}};
    (void)script;
    md__bind_table(L, "file", file);
    md__bind_table(L, "process", process);
}

const struct md__binding md__binding_system = {.name = "system", .bind = bind};

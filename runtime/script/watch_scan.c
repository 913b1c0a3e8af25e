/* What names mean, and fingerprints of folders; see watch.h. */
#include <ctype.h>
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "script/watch.h"

enum { DEPTH_MAX = 8, PATH_BYTES = 4096 };

static bool ends_with(const char *name, const char *ending)
{
    size_t length = strlen(name), tail = strlen(ending);
    return length > tail && strcmp(name + length - tail, ending) == 0;
}

/* vim probes a folder by writing 4913, 5036, ... before it saves. */
static bool is_number(const char *name)
{
    while (isdigit((unsigned char)*name))
        name++;
    return *name == '\0';
}

static bool is_temporary(const char *name)
{
    static const char *const endings[] = {
        "~",     ".swp",         ".swo",         ".swx", ".tmp", ".bak",    ".part",
        ".orig", "___jb_tmp___", "___jb_old___", ".rej", ".new", ".partial"};
    for (size_t i = 0; i < sizeof endings / sizeof endings[0]; i++) {
        if (ends_with(name, endings[i]))
            return true;
    }
    return false;
}

/* Kubernetes mounts a ConfigMap as links through `..data`, and changes it by replacing that one. */
enum md__watch_kind md__watch_kind(const char *name, bool is_folder)
{
    if (strcmp(name, "..data") == 0)
        return MD__WATCH_OTHER;
    bool is_noise = name[0] == '#' || is_number(name);
    if (name[0] == '\0' || name[0] == '.' || is_temporary(name) || (is_noise && !is_folder))
        return MD__WATCH_NOTHING;
    return !is_folder && ends_with(name, ".lua") ? MD__WATCH_SCRIPT : MD__WATCH_OTHER;
}

/* ---- fingerprints ---------------------------------------------------------------------------- */

struct scan {
    uint64_t hash;
    void (*on_folder)(void *context, const char *path);
    void *context;
};

static void mix(struct scan *scan, const void *data, size_t length)
{
    const unsigned char *bytes = data;
    for (size_t i = 0; i < length; i++) /* FNV-1a, see sources.c */
        scan->hash = (scan->hash ^ bytes[i]) * 0x100000001b3u;
}

static void mix_file(struct scan *scan, const char *name, const struct stat *status)
{
    int64_t facts[] = {status->st_size, status->st_mtim.tv_sec, status->st_mtim.tv_nsec,
                       (int64_t)status->st_ino, (int64_t)status->st_dev};
    mix(scan, name, strlen(name) + 1);
    mix(scan, facts, sizeof facts);
}

static void scan_folder(struct scan *scan, const char *path, int depth);

static void scan_entry(struct scan *scan, const char *folder, const char *name, int depth)
{
    char path[PATH_BYTES];
    struct stat status;
    if (snprintf(path, sizeof path, "%s/%s", folder, name) >= (int)sizeof path ||
        stat(path, &status) != 0)
        return;
    bool is_folder = S_ISDIR(status.st_mode);
    if (name[0] == '.' || md__watch_kind(name, is_folder) == MD__WATCH_NOTHING)
        return;
    if (is_folder) {
        mix(scan, name, strlen(name) + 1);
        scan_folder(scan, path, depth + 1);
    } else if (S_ISREG(status.st_mode)) {
        mix_file(scan, name, &status);
    }
}

static void scan_folder(struct scan *scan, const char *path, int depth)
{
    struct dirent **entries;
    int count = depth < DEPTH_MAX ? scandir(path, &entries, NULL, alphasort) : -1;
    if (count < 0)
        return;
    if (scan->on_folder != NULL)
        scan->on_folder(scan->context, path);
    for (int i = 0; i < count; i++) {
        scan_entry(scan, path, entries[i]->d_name, depth);
        free(entries[i]);
    }
    free(entries);
}

uint64_t md__watch_scan(const char *path, void (*on_folder)(void *context, const char *path),
                        void *context)
{
    struct scan scan = {0xcbf29ce484222325u, on_folder, context};
    struct stat status;
    if (stat(path, &status) != 0)
        return 0;
    if (S_ISDIR(status.st_mode))
        scan_folder(&scan, path, 0);
    else
        mix_file(&scan, "", &status);
    return scan.hash;
}

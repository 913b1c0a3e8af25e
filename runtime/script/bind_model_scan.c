/* md.models.scan: what lies in a folder of models, without loading any of it. */
#include "script/bind_model_scan.h"

#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "model/config.h"
#include "script/generation.h"

#define SCAN_MAX 1000

static const char models_folder[] = "models";

static double folder_bytes(const char *folder)
{
    double bytes = 0;
    DIR *directory = opendir(folder);
    struct dirent *entry;
    while (directory != NULL && (entry = readdir(directory)) != NULL) {
        struct stat status;
        if (fstatat(dirfd(directory), entry->d_name, &status, AT_SYMLINK_NOFOLLOW) == 0 &&
            S_ISREG(status.st_mode))
            bytes += (double)status.st_size;
    }
    if (directory != NULL)
        closedir(directory);
    return bytes;
}

/* The text that describes the model at path, a heap string; NULL when it is no model. */
static char *read_description(const char *path, const struct stat *status)
{
    struct md_model_config config;
    size_t length = strlen(path);
    char *text = NULL;
    if (S_ISREG(status->st_mode)) {
        if (length > 5 && strcmp(path + length - 5, ".onnx") == 0)
            md_model_config_beside(path, &text, NULL);
        return text;
    }
    if (md_model_config_read(path, &config, NULL) != MD_OK)
        return NULL;
    text = strdup(config.json.data);
    md_model_config_fini(&config);
    return text;
}

/* What a model says about itself; false (nothing pushed) when it is none. */
static bool push_scanned(lua_State *L, const char *relative, const char *name, const char *path)
{
    struct md_error err;
    struct stat status;
    char *text = stat(path, &status) == 0 ? read_description(path, &status) : NULL;
    if (text == NULL)
        return false;
    lua_createtable(L, 0, 6);
    lua_pushfstring(L, "%s/%s", relative, name);
    lua_setfield(L, -2, "path");
    md__set_text(L, "name", name);
    md__set_number(L, "modified_ms", (double)status.st_mtime * 1000);
    md__set_number(L, "size_bytes",
                   S_ISREG(status.st_mode) ? (double)status.st_size : folder_bytes(path));
    bool decoded = md__json_read(L, text, strlen(text), &err) == MD_OK;
    free(text);
    if (decoded)
        lua_setfield(L, -2, "config");
    return true;
}

static int compare_names(const void *left, const void *right)
{
    return strcmp(*(char *const *)left, *(char *const *)right);
}

/* The entries' names in order, in a scratch buffer of pointers into another. */
static char **list_names(lua_State *L, const char *folder, int *count)
{
    struct md_buffer *names = md__scratch(L, 1 << 20);
    struct md_buffer *pointers = md__scratch(L, SCAN_MAX * sizeof(char *));
    DIR *directory = opendir(folder);
    struct dirent *entry;
    *count = 0;
    while (directory != NULL && *count < SCAN_MAX && (entry = readdir(directory)) != NULL) {
        if (entry->d_name[0] == '.')
            continue;
        md_buffer_append(names, entry->d_name, strlen(entry->d_name) + 1);
        ++*count;
    }
    if (directory != NULL)
        closedir(directory);
    if (md_buffer_check(names, NULL) != MD_OK)
        luaL_error(L, "md.models.scan: not enough memory");
    char *name = names->data;
    for (int i = 0; i < *count; i++, name += strlen(name) + 1)
        md_buffer_append(pointers, &name, sizeof name);
    if (md_buffer_check(pointers, NULL) != MD_OK)
        luaL_error(L, "md.models.scan: not enough memory");
    char **list = (char **)(void *)pointers->data;
    if (*count > 0)
        qsort(list, (size_t)*count, sizeof *list, compare_names);
    return list;
}

int md__models_scan(lua_State *L)
{
    struct md_error err;
    char folder[PATH_MAX], path[PATH_MAX + NAME_MAX + 2];
    const char *relative = luaL_optstring(L, 1, models_folder);
    int count, found = 0;
    md__check_acting(L, "md.models.scan");
    if (md__model_resolve(md__state(L)->script, relative, folder, &err) != MD_OK)
        return md__return_error(L, &err);
    lua_newtable(L);
    int list = lua_gettop(L);
    char **names = list_names(L, folder, &count);
    for (int i = 0; i < count; i++) {
        snprintf(path, sizeof path, "%s/%s", folder, names[i]);
        if (push_scanned(L, relative, names[i], path))
            lua_rawseti(L, list, ++found);
    }
    lua_settop(L, list);
    return 1;
}

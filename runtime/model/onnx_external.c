/*
 * Files that hold a model's tensors beside it. A path comes from the model, which may come from
 * anyone: it may name a file of the model's folder, and nothing else. The check is made on the
 * path with every link resolved, so that a link inside the folder may not lead out of it.
 */
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "model/onnx_tensor.h"
#include "tensor/mapping.h"

enum { FILES_MAX = 1024 };

struct md__onnx_file {
    char *location;
    struct md_owner *owner;
};

void md__onnx_files_fini(struct md__onnx_files *files)
{
    for (int i = 0; i < files->opened_count; i++) {
        free(files->opened[i].location);
        md_owner_unref(files->opened[i].owner);
    }
    free(files->opened);
    files->opened = NULL;
    files->opened_count = 0;
}

static bool climbs(const char *location)
{
    for (const char *part = location; part; part = strchr(part, '/')) {
        part += *part == '/';
        if (strncmp(part, "..", 2) == 0 && (part[2] == '/' || part[2] == '\0'))
            return true;
    }
    return false;
}

/* The real path of folder/location, which must begin with the real path of the folder. */
static enum md_status resolve(const char *folder, const char *location, char **path,
                              struct md_error *err)
{
    char joined[PATH_MAX], *root = NULL;
    enum md_status status = MD_OK;
    *path = NULL;
    if (location[0] == '\0')
        return md_fail(err, MD_ERR_CORRUPT, "external data: no location");
    if (location[0] == '/' || climbs(location))
        return md_fail(err, MD_ERR_CORRUPT,
                       "external data: \"%.80s\" is not a path within the model's folder",
                       location);
    if (strlen(folder) + 1 + strlen(location) >= sizeof joined)
        return md_fail(err, MD_ERR_CORRUPT, "external data: the path is too long");
    strcat(strcat(strcpy(joined, folder), "/"), location);
    root = realpath(folder, NULL);
    *path = realpath(joined, NULL);
    if (!root || !*path) {
        status =
            md_fail(err, MD_ERR_NOT_FOUND, "external data: there is no file \"%.80s\"", location);
        goto out;
    }
    size_t length = strcmp(root, "/") == 0 ? 0 : strlen(root);
    if (strncmp(*path, root, length) != 0 || (*path)[length] != '/')
        status = md_fail(err, MD_ERR_CORRUPT,
                         "external data: \"%.80s\" is a link out of the model's folder", location);
out:
    free(root);
    if (status) {
        free(*path);
        *path = NULL;
    }
    return status;
}

static enum md_status keep(struct md__onnx_files *files, const char *location,
                           struct md_owner *owner, struct md_error *err)
{
    size_t count = (size_t)files->opened_count + 1;
    struct md__onnx_file *grown = realloc(files->opened, count * sizeof *grown);
    if (grown)
        files->opened = grown;
    char *copy = grown ? strdup(location) : NULL;
    if (!copy)
        return md_fail(err, MD_ERR_MEMORY, "out of memory for external data");
    grown[files->opened_count++] = (struct md__onnx_file){copy, owner};
    return MD_OK;
}

enum md_status md__onnx_external(struct md__onnx_files *files, const char *location,
                                 struct md_owner **owner, struct md_error *err)
{
    char *path = NULL;
    for (int i = 0; i < files->opened_count; i++) {
        if (strcmp(files->opened[i].location, location) == 0) {
            *owner = files->opened[i].owner;
            return MD_OK;
        }
    }
    if (!files->folder)
        return md_fail(err, MD_ERR_INVALID, "external data: the model has no folder");
    if (files->opened_count >= FILES_MAX)
        return md_fail(err, MD_ERR_TOO_LARGE, "external data: more than %d files", FILES_MAX);
    enum md_status status = resolve(files->folder, location, &path, err);
    if (status)
        return status;
    status = md_mapping_open(path, owner, err);
    free(path);
    if (status)
        return status;
    status = keep(files, location, *owner, err);
    if (status)
        md_owner_unref(*owner);
    else
        files->copied_max += 2 * (*owner)->bytes;
    return status;
}

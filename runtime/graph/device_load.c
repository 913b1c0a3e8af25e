#include "graph/device_load.h"

#include <dlfcn.h>
#include <string.h>
#include <unistd.h>

/* dlerror names the file first, which the caller's line has already. */
static const char *reason(const char *path)
{
    const char *text = dlerror();
    size_t length = strlen(path);
    if (!text)
        return "unknown reason";
    return strncmp(text, path, length) == 0 && text[length] == ':' ? text + length + 2 : text;
}

static enum md_status load(const char *path, const struct md_device_driver **driver,
                           struct md_error *err)
{
    void *library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (!library)
        return md_fail(err, MD_ERR_UNSUPPORTED, "%s cannot be loaded: %s", path, reason(path));
    void *symbol = dlsym(library, MD_DEVICE_ENTRY);
    md_device_entry entry;
    memcpy(&entry, &symbol, sizeof entry); /* ISO C has no cast from data to function */
    const struct md_device_driver *found = symbol ? entry() : NULL;
    enum md_status status = MD_OK;
    if (!found)
        status =
            md_fail(err, MD_ERR_UNSUPPORTED, "%s is no driver: it lacks %s", path, MD_DEVICE_ENTRY);
    else if (found->abi != MD_DEVICE_ABI || found->op_count != MD_OP_COUNT)
        status =
            md_fail(err, MD_ERR_UNSUPPORTED, "%s was built for another version of moondial", path);
    if (status)
        dlclose(library);
    else
        *driver = found;
    return status;
}

enum md_status md_device_load(const char *const *paths, const struct md_device_driver **driver,
                              struct md_error *err)
{
    *driver = NULL;
    for (int i = 0; paths[i]; i++)
        if (access(paths[i], F_OK) == 0)
            return load(paths[i], driver, err);
    return md_fail(err, MD_ERR_NOT_FOUND, "there is no driver at %s", paths[0] ? paths[0] : "all");
}

/*
 * Where things are on this machine: our Lua library, processors, backends.
 */
#include <limits.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/cli.h"
#include "kernels/cpu/cpu.h"

int md__cli_fail(const struct md_error *err)
{
    fprintf(stderr, "moondial: %s\n", err->text);
    return md_status_exit(err->code);
}

/* <prefix>/bin/moondial has its library under <prefix>/MD_DATA_SUBDIR/lua. */
static bool installed_lib_dir(char *path, size_t size)
{
    char exe[PATH_MAX];
    ssize_t length = readlink("/proc/self/exe", exe, sizeof exe - 1);
    char *slash;

    if (length <= 0) {
        return false;
    }
    exe[length] = '\0';
    for (int i = 0; i < 2; i++) {
        slash = strrchr(exe, '/');
        if (slash == NULL) {
            return false;
        }
        *slash = '\0';
    }
    return snprintf(path, size, "%s/" MD_DATA_SUBDIR "/lua", exe) < (int)size &&
           access(path, R_OK) == 0;
}

const char *md__cli_lib_dir(void)
{
    static char path[PATH_MAX];

    if (path[0] == '\0' && !installed_lib_dir(path, sizeof path)) {
        snprintf(path, sizeof path, "%s/lua", MD_SOURCE_DIR);
    }
    return path;
}

const char *md__cli_packs_folder(const char *given)
{
    static char path[PATH_MAX];
    const char *cache = getenv("XDG_CACHE_HOME"), *home = getenv("HOME");

    given = given != NULL ? given : getenv("MOONDIAL_PACK_CACHE");
    if (given != NULL && given[0] != '\0') {
        return strcmp(given, "off") == 0 ? NULL : given;
    }
    if (cache != NULL && cache[0] == '/') {
        snprintf(path, sizeof path, "%s/moondial/packs", cache);
    } else if (home != NULL && home[0] == '/') {
        snprintf(path, sizeof path, "%s/.cache/moondial/packs", home);
    } else {
        return NULL;
    }
    return path;
}

int md__cli_threads(int wanted)
{
    cpu_set_t set;

    if (wanted > 0) {
        return wanted;
    }
    return sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set) : 1;
}

enum md_status md__cli_backend(const char *isa, const struct md_backend **backend,
                               struct md_error *err)
{
    static const struct {
        const char *name;
        enum md_cpu_isa isa;
    } names[] = {{"auto", MD_ISA_BEST},
                 {"portable", MD_ISA_PORTABLE},
                 {"avx2", MD_ISA_AVX2},
                 {"avx512", MD_ISA_AVX512},
                 {"amx", MD_ISA_AMX}};

    if (strcmp(isa, "reference") == 0) {
        *backend = md_cpu_reference();
        return MD_OK;
    }
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        if (strcmp(isa, names[i].name) == 0) {
            *backend = md_cpu_backend(names[i].isa);
            return *backend != NULL
                       ? MD_OK
                       : md_fail(err, MD_ERR_INVALID, "this processor does not have %s", isa);
        }
    }
    return md_fail(err, MD_ERR_INVALID,
                   "isa \"%.32s\" is none of auto, reference, portable, avx2, avx512, amx", isa);
}

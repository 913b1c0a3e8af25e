/*
 * Runs a fuzz target over the files named on its command line (folders: the files in them), so that
 * every saved input is a regression test in every build, without libFuzzer. No folder, or an empty
 * one, still runs the empty input once.
 */
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>

#include "fuzz.h"

static int replay_file(const char *path)
{
    FILE *file = fopen(path, "rb");
    if (!file) {
        perror(path);
        return 1;
    }
    fseek(file, 0, SEEK_END);
    long size = ftell(file);
    rewind(file);
    /* An allocation of exactly the input's size lets AddressSanitizer see one byte too far. */
    uint8_t *data = size > 0 ? malloc((size_t)size) : NULL;
    int failed = size < 0 || (size > 0 && (!data || fread(data, 1, (size_t)size, file) == 0));
    fclose(file);
    if (failed) {
        fprintf(stderr, "%s: cannot be read\n", path);
    } else {
        LLVMFuzzerTestOneInput(data, (size_t)size);
    }
    free(data);
    return failed;
}

static int replay_folder(const char *path)
{
    DIR *folder = opendir(path);
    int failed = 0;
    for (struct dirent *entry; folder && (entry = readdir(folder)) != NULL;) {
        char file[4096];
        if (entry->d_type == DT_REG &&
            snprintf(file, sizeof file, "%s/%s", path, entry->d_name) < (int)sizeof file) {
            failed += replay_file(file);
        }
    }
    if (folder) {
        closedir(folder);
    }
    return failed;
}

int main(int argc, char **argv)
{
    int failed = 0;
    LLVMFuzzerTestOneInput((const uint8_t *)"", 0);
    for (int i = 1; i < argc; i++) {
        failed += replay_folder(argv[i]);
    }
    return failed ? 1 : 0;
}

/*
 * The moondial binary: picks a subcommand and hands over to it.
 *
 * Exit status: 0 success, 2 bad usage. Every failure is one line on stderr.
 */
#include <stdio.h>
#include <string.h>

static const char usage_text[] = "usage: moondial COMMAND [ARGUMENT ...]\n"
                                 "       moondial --version\n";

int main(int argc, char **argv)
{
    if (argc == 2 && strcmp(argv[1], "--version") == 0) {
        puts("moondial " MD_VERSION);
        return 0;
    }
    if (argc == 2 && strcmp(argv[1], "--help") == 0) {
        fputs(usage_text, stdout);
        return 0;
    }
    if (argc < 2) {
        fputs(usage_text, stderr);
    } else {
        fprintf(stderr, "moondial: unknown command \"%s\" (try moondial --help)\n", argv[1]);
    }
    return 2;
}

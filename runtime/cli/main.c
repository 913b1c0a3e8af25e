/*
 * The moondial binary: picks a subcommand and hands over to it.
 *
 * Exit status: 0 success, 2 bad usage or bad input, 3 the model needs something unsupported, 1
 * anything else. Every failure is one line on stderr.
 */
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "cli/cli.h"

struct command {
    const char *name, *arguments, *summary;
    int (*run)(int argc, char **argv);
};

static const struct command commands[] = {
    {"serve",
     "SCRIPTS_DIR [--listen ADDR:PORT] [--state DIR] [--tls-cert FILE --tls-key FILE] "
     "[--config FILE] [--KEY VALUE ...]",
     "serve a folder of scripts over HTTP or HTTPS; show-config lists every KEY", md__cli_serve},
    {"run", "MODEL --in NAME=FILE.npy ... --out DIR [FLAG ...]",
     "one inference, .npy files in and out", md__cli_run},
    {"bench", "MODEL [--batch 1,20,100] [--profile | --passes] [FLAG ...]",
     "time a model and compare with what this machine could do", md__cli_bench},
    {"inspect", "MODEL [FLAG ...]", "inputs, outputs, operators, memory plan", md__cli_inspect},
    {"check", "SCRIPTS_DIR [--json]", "load scripts without effects, report mistakes",
     md__cli_check},
    {"test", "SCRIPTS_DIR [--only TEXT] [--json]", "run the tests beside a folder of scripts",
     md__cli_test},
    {"show-config", "SCRIPTS_DIR [--json] [--KEY VALUE ...]",
     "each setting, its value and where it comes from", md__cli_show_config},
    {"rehearse",
     "SCRIPTS_DIR [--since 24h] [--until TIME] [--against live|recorded] [--rule NAME] "
     "[--html FILE] [--json] [--state DIR | --control SOCKET]",
     "what alert rules would have done over the past, and how that differs", md__cli_rehearse},
    {"reload", "[--control SOCKET] [--state DIR] [--json]",
     "let a running daemon load its scripts as they are on disk now", md__cli_reload},
    {"rollback", "[--control SOCKET] [--state DIR] [--json]",
     "let a running daemon go back to the scripts before the last change", md__cli_rollback},
    {"repl", "[--eval CODE ...] [--json] [--yes] [--control SOCKET] [--state DIR]",
     "a prompt inside a running daemon", md__cli_repl},
    {"control", "OP|JSON [--control SOCKET] [--state DIR]",
     "one request to a running daemon: ping, log-level, config, ...", md__cli_control},
};

static const char *const later[] = {"load", "tune"};

#define COUNT(array) ((int)(sizeof(array) / sizeof(array)[0]))

static void print_usage(FILE *out)
{
    fputs(
        "usage: moondial COMMAND [ARGUMENT ...]\n       moondial COMMAND --help    what it takes, "
        "flag by flag\n       moondial --version\n\n",
        out);
    for (int i = 0; i < COUNT(commands); i++) {
        fprintf(out, "  %s %s\n      %s\n", commands[i].name, commands[i].arguments,
                commands[i].summary);
    }
}

static int refuse(const char *name)
{
    for (int i = 0; i < COUNT(later); i++) {
        if (strcmp(name, later[i]) == 0) {
            fprintf(stderr, "moondial: \"%s\" is not available in this version\n", name);
            return 2;
        }
    }
    fprintf(stderr, "moondial: unknown command \"%s\" (try moondial --help)\n", name);
    return 2;
}

int main(int argc, char **argv)
{
    signal(SIGPIPE, SIG_IGN);
    if (argc < 2) {
        fputs("moondial: no command (try moondial --help)\n", stderr);
        return 2;
    }
    if (strcmp(argv[1], "--version") == 0) {
        puts("moondial " MD_VERSION);
        return 0;
    }
    if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "help") == 0) {
        print_usage(stdout);
        return 0;
    }
    for (int i = 0; i < COUNT(commands); i++) {
        const struct command *command = &commands[i];
        if (strcmp(argv[1], command->name) == 0) {
            if (argc == 3 && strcmp(argv[2], "--help") == 0) {
                printf("usage: moondial %s %s\n%s\n", command->name, command->arguments,
                       command->summary);
            }
            return command->run(argc - 2, argv + 2);
        }
    }
    return refuse(argv[1]);
}

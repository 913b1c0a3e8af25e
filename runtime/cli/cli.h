/*
 * What the subcommands share: their table, flags, failing with one line, and opening a model.
 *
 * A subcommand is one file with one function, `int md__cli_<name>(int argc, char **argv)`, which
 * gets what follows its name and returns the exit status: 0 success, 2 bad usage or bad input, 3
 * the model needs something unsupported, 1 anything else.
 */
#ifndef MD_CLI_CLI_H
#define MD_CLI_CLI_H

#include <stdbool.h>
#include <stddef.h>

#include "graph/executable.h"
#include "serve/serve.h"

int md__cli_serve(int argc, char **argv);
int md__cli_run(int argc, char **argv);
int md__cli_bench(int argc, char **argv);
int md__cli_inspect(int argc, char **argv);
int md__cli_check(int argc, char **argv);
int md__cli_test(int argc, char **argv);
int md__cli_show_config(int argc, char **argv);
int md__cli_control(int argc, char **argv);
int md__cli_repl(int argc, char **argv);
int md__cli_rehearse(int argc, char **argv);
int md__cli_reload(int argc, char **argv);
int md__cli_rollback(int argc, char **argv);

/* Prints "moondial: text" on stderr; returns the exit status of err's code. */
int md__cli_fail(const struct md_error *err);

/* ---- flags (args.c) ---- */

enum md__flag_type { MD__FLAG_TEXT, MD__FLAG_INT, MD__FLAG_BOOL, MD__FLAG_LIST };

#define MD__FLAG_LIST_MAX 64

struct md__flag_list {
    const char *items[MD__FLAG_LIST_MAX];
    int count;
};

struct md__flag {
    const char *name; /* "--threads" */
    enum md__flag_type type;
    void *value;             /* const char *, int, bool, struct md__flag_list */
    const char *takes, *why; /* for --help: what the value is ("N"; NULL: none), what it is for */
};

/* Flags that several commands take, each with the same meaning. */
#define MD__FLAG_JSON(is_json)                                                                     \
    {                                                                                              \
        "--json", MD__FLAG_BOOL, &(is_json), NULL, "report as JSON"                                \
    }
#define MD__FLAG_SYMBOL(text)                                                                      \
    {                                                                                              \
        "--symbol", MD__FLAG_TEXT, &(text), "NAME=SIZE,...", "sizes that the model leaves free"    \
    }
#define MD__FLAGS_DAEMON(control, state)                                                           \
    {"--control", MD__FLAG_TEXT, &(control), "SOCKET", "the running daemon's control socket"},     \
    {                                                                                              \
        "--state", MD__FLAG_TEXT, &(state), "DIR", "its state folder, where control.sock lies"     \
    }
#define MD__FLAGS_OPEN(options)                                                                    \
    {"--threads", MD__FLAG_INT, &(options).threads, "N", "threads; every processor if not given"}, \
        {"--device", MD__FLAG_TEXT, &(options).device, "DEVICE",                                   \
         "auto (if not given), cpu, cuda or cuda:INDEX"},                                          \
        {"--precision", MD__FLAG_TEXT, &(options).precision, "TYPE",                               \
         "of float32 on a GPU: auto, fp32, fp16 or bf16"},                                         \
        {"--isa", MD__FLAG_TEXT, &(options).isa, "NAME",                                           \
         "the CPU's kernels: auto, amx, avx512, avx2, portable, or reference, which says what "    \
         "is meant"},                                                                              \
    {                                                                                              \
        "--passes-off", MD__FLAG_TEXT, &(options).passes_off, "NAME,...",                          \
            "leave out passes or fused operators, as bench --passes names them"                    \
    }
#define MD__FLAGS_PACKS(options)                                                                   \
    {"--pack-cache", MD__FLAG_TEXT, &(options).pack_cache, "DIR|off",                              \
     "where packed weights are kept for the next load"},                                           \
    {                                                                                              \
        "--low-memory", MD__FLAG_BOOL, &(options).low_memory, NULL,                                \
            "packed weights do not grow, and kept ones are used where they lie"                    \
    }

/*
 * Reads flags ("--name value", "--name=value"; booleans alone) and exactly one other argument,
 * the command's subject (none when subject is NULL). usage is named in errors. "--help" prints the
 * flags and ends the process with success.
 */
enum md_status md__args_parse(int argc, char **argv, const struct md__flag *flags, int flag_count,
                              const char *usage, const char **subject, struct md_error *err);

/* Reads "1,20,100": positive numbers. Returns how many, -1 when it is not such a list. */
int md__args_ints(const char *text, int64_t *numbers, int max);

/* ---- places and devices (places.c) ---- */

/* The folder that holds moondial/init.lua: beside an installed binary, else in the source tree. */
const char *md__cli_lib_dir(void);
/*
 * Where packed weights are kept, for --pack-cache: a folder as it is, "off" (NULL), or NULL:
 * $MOONDIAL_PACK_CACHE, likewise, else moondial/packs in the user's cache folder.
 */
const char *md__cli_packs_folder(const char *given);
/* Threads for 0: as many as this process may use processors. */
int md__cli_threads(int wanted);
/* The CPU's kernels, for --isa. */
enum md_status md__cli_backend(const char *isa, const struct md_backend **backend,
                               struct md_error *err);

/* ---- accelerators (devices.c) ---- */

struct md__device_choice {
    struct md_accelerator *accelerator; /* NULL: the CPU does it all. The caller's to delete */
    char why[256];                      /* then: the reason */
    bool is_missed; /* there is a driver in this build, but no device for it to use */
};
/* --device: "auto", "cpu", "cuda", "cuda:1". */
enum md_status md__cli_device(const char *device, struct md__device_choice *chosen,
                              struct md_error *err);

/* Warns where one was asked for that the device does not have. */
void md__cli_check_precision(const struct md__device_choice *device, enum md_precision precision);

/* ---- models (open.c) ---- */

struct md__open_options {
    const char *path, *device, *isa, *passes_off, *pack_cache, *precision;
    int threads;
    bool low_memory, captures_off;
};

/* A model made executable outside the registry: run, bench, inspect. */
struct md__opened {
    struct md_model_builder builder;
    struct md_pool *pool;
    struct md_executable *executable;
    const struct md_backend *backend;
    struct md__device_choice device;
    char *config;
    int threads;
    int64_t parameters;       /* of the graph as it was built */
    int nodes_built;          /* primitives, before passes */
    int regions[MD_OP_COUNT]; /* asked for, by fused operator */
};
enum md_status md__open(const struct md__open_options *options, struct md__opened *model,
                        struct md_error *err);
void md__opened_close(struct md__opened *model); /* a zeroed struct is fine */
/* Once the model has answered: keeps packed weights for the next time, or warns. */
void md__opened_keep_packs(struct md__opened *model);

/* ---- inputs from files (inputs.c) ---- */

/*
 * Reads NAME=FILE.npy for each input of the graph into inputs[input_count], zeroed before; what was
 * read is the caller's to unref, also on failure.
 */
enum md_status md__cli_read_inputs(const struct md_graph *graph, const struct md__flag_list *given,
                                   struct md_tensor *inputs, struct md_error *err);

#endif

/* Reads programs (programs.h) by recursive descent; any mistake in one fails the test. */
#include "programs.h"

#include <ctype.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/pool.h"
#include "graph/executable_internal.h"
#include "graphs.h"
#include "kernels/cpu/cpu.h"
#include "unit.h"

enum { NAMES_MAX = 64, ARGS_MAX = 24, LIST_MAX = 64 };

struct reader {
    const char *at;
    struct md_graph *graph;
    char names[NAMES_MAX][32];
    int values[NAMES_MAX];
    int count;
    uint64_t state;
};

static void skip_space(struct reader *reader)
{
    reader->at += strspn(reader->at, " \n");
}

static bool take(struct reader *reader, const char *text)
{
    skip_space(reader);
    size_t length = strlen(text);
    if (strncmp(reader->at, text, length) != 0)
        return false;
    reader->at += length;
    return true;
}

static void expect(struct reader *reader, const char *text)
{
    if (!take(reader, text))
        fail_msg("wanted \"%s\" at \"%.40s\"", text, reader->at);
}

static void read_name(struct reader *reader, char *name)
{
    skip_space(reader);
    int length = 0;
    while ((isalnum((unsigned char)*reader->at) || *reader->at == '_' || *reader->at == '.') &&
           length < 31)
        name[length++] = *reader->at++;
    name[length] = 0;
    if (!length)
        fail_msg("wanted a name at \"%.40s\"", reader->at);
}

static void name_value(struct reader *reader, const char *name, int value)
{
    assert_true(reader->count < NAMES_MAX);
    strcpy(reader->names[reader->count], name); /* read_name made it fit */
    reader->values[reader->count++] = value;
}

static int named(const struct reader *reader, const char *name)
{
    for (int i = reader->count - 1; i >= 0; i--)
        if (strcmp(reader->names[i], name) == 0)
            return reader->values[i];
    fail_msg("nothing is named \"%s\"", name);
    return MD_NONE;
}

/* Numbers up to `close`; whether one of them has a point. */
static int read_numbers(struct reader *reader, const char *close, double *numbers, bool *floats)
{
    int count = 0;
    *floats = false;
    while (!take(reader, close)) {
        char *end;
        assert_true(count < LIST_MAX);
        numbers[count++] = strtod(reader->at, &end);
        *floats |= memchr(reader->at, '.', (size_t)(end - reader->at)) != NULL;
        if (end == reader->at)
            fail_msg("wanted a number at \"%.40s\"", reader->at);
        reader->at = end;
        take(reader, ",");
    }
    return count;
}

static int read_list(struct reader *reader)
{
    double numbers[LIST_MAX];
    int64_t ints[LIST_MAX];
    float reals[LIST_MAX];
    bool floats;
    int count = read_numbers(reader, "]", numbers, &floats);
    for (int i = 0; i < count; i++) {
        ints[i] = (int64_t)numbers[i];
        reals[i] = (float)numbers[i];
    }
    return floats ? graphs_floats(reader->graph, 1, &(int64_t){count}, reals)
                  : graphs_ints(reader->graph, count, ints);
}

static void read_attr(struct reader *reader, const char *name, struct md_attr *attr)
{
    double numbers[LIST_MAX];
    bool floats = false;
    *attr = (struct md_attr){.name = strdup(name)};
    if (take(reader, "'")) {
        size_t length = strcspn(reader->at, "'");
        attr->type = MD_ATTR_STRING;
        attr->s = strndup(reader->at, length);
        reader->at += length + 1;
        return;
    }
    bool list = take(reader, "[");
    if (list) {
        attr->count = read_numbers(reader, "]", numbers, &floats);
    } else {
        char *end;
        numbers[0] = strtod(reader->at, &end);
        floats = memchr(reader->at, '.', (size_t)(end - reader->at)) != NULL;
        reader->at = end;
    }
    attr->type =
        floats ? (list ? MD_ATTR_FLOATS : MD_ATTR_FLOAT) : (list ? MD_ATTR_INTS : MD_ATTR_INT);
    attr->i = (int64_t)numbers[0];
    attr->f = numbers[0];
    int64_t *ints = calloc(LIST_MAX, sizeof *ints);
    double *reals = calloc(LIST_MAX, sizeof *reals);
    for (int i = 0; i < attr->count; i++) {
        ints[i] = (int64_t)numbers[i];
        reals[i] = numbers[i];
    }
    attr->ints = ints;
    attr->floats = reals;
}

static void free_attr(struct md_attr *attr)
{
    free((void *)(uintptr_t)attr->name);
    free((void *)(uintptr_t)attr->s);
    free((void *)(uintptr_t)attr->ints);
    free((void *)(uintptr_t)attr->floats);
}

static void read_call(struct reader *reader, const char *op, int *outputs, int output_count);

static int read_argument(struct reader *reader)
{
    char name[32];
    int value;
    skip_space(reader);
    if (take(reader, "["))
        return read_list(reader);
    if (isdigit((unsigned char)*reader->at) || *reader->at == '-') {
        char *end;
        float number = strtof(reader->at, &end);
        reader->at = end;
        return graphs_floats(reader->graph, 0, NULL, &number);
    }
    read_name(reader, name);
    if (strcmp(name, "_") == 0)
        return MD_NONE;
    if (!take(reader, "("))
        return named(reader, name);
    read_call(reader, name, &value, 1);
    return value;
}

/* Behind the opening parenthesis. */
static void read_call(struct reader *reader, const char *op, int *outputs, int output_count)
{
    struct md_error err;
    int in[ARGS_MAX], in_count = 0, attr_count = 0;
    struct md_attr attrs[ARGS_MAX];
    while (!take(reader, ")")) {
        assert_true(in_count < ARGS_MAX && attr_count < ARGS_MAX);
        const char *before = reader->at;
        char name[32] = "";
        if (isalpha((unsigned char)*reader->at))
            read_name(reader, name);
        if (name[0] && take(reader, "=")) {
            read_attr(reader, name, &attrs[attr_count++]);
        } else {
            reader->at = before;
            in[in_count++] = read_argument(reader);
        }
        take(reader, ",");
        skip_space(reader);
    }
    assert_ok(md_graph_node(reader->graph, op, "", in, in_count, attrs, attr_count, outputs,
                            output_count, &err));
    for (int i = 0; i < attr_count; i++)
        free_attr(&attrs[i]);
}

/* A constant of random bytes or of small int32s. */
static int random_integers(struct reader *reader, enum md_dtype dtype, int rank, const int64_t *dim)
{
    struct md_error err;
    struct md_tensor tensor;
    struct md_shape shape = md_shape_of(rank, dim);
    int value;
    assert_ok(md_tensor_new(dtype, &shape, &tensor, &err));
    for (size_t i = 0; i < md_tensor_count(&tensor); i++)
        if (dtype == MD_I32)
            ((int32_t *)tensor.data)[i] = (int32_t)(graphs_next(&reader->state) % 2001) - 1000;
        else
            ((uint8_t *)tensor.data)[i] = (uint8_t)(graphs_next(&reader->state) >> 8);
    assert_ok(md_graph_constant(reader->graph, "", &tensor, &value, &err));
    md_tensor_unref(&tensor);
    return value;
}

/* x[..] or w{..}, behind the bracket. */
static int read_declaration(struct reader *reader, const char *name, bool is_input)
{
    int64_t dim[MD_RANK_MAX];
    int rank = 0;
    while (!take(reader, is_input ? "]" : "}")) {
        char word[32];
        read_name(reader, word);
        assert_true(rank < MD_RANK_MAX);
        dim[rank++] =
            isdigit((unsigned char)word[0]) ? atoi(word) : graphs_symbol(reader->graph, word, 0);
        take(reader, ",");
    }
    if (is_input)
        return graphs_input(reader->graph, name, MD_F32, rank, dim);
    if (take(reader, "u8"))
        return random_integers(reader, MD_U8, rank, dim);
    if (take(reader, "i8"))
        return random_integers(reader, MD_I8, rank, dim);
    if (take(reader, "i32"))
        return random_integers(reader, MD_I32, rank, dim);
    struct md_tensor tensor = graphs_random(&reader->state, rank, dim);
    int value = graphs_floats(reader->graph, rank, dim, tensor.data);
    md_tensor_unref(&tensor);
    return value;
}

static void read_statement(struct reader *reader)
{
    char names[8][32], op[32];
    int count = 0, outputs[8];
    read_name(reader, names[count++]);
    if (take(reader, "[") || take(reader, "{")) {
        bool is_input = reader->at[-1] == '[';
        name_value(reader, names[0], read_declaration(reader, names[0], is_input));
        return;
    }
    while (!take(reader, "=")) {
        assert_true(count < 8);
        read_name(reader, names[count++]);
    }
    read_name(reader, op);
    expect(reader, "(");
    read_call(reader, op, outputs, count);
    for (int i = 0; i < count; i++)
        name_value(reader, names[i], outputs[i]);
}

struct md_graph *program_graph(const char *program)
{
    struct reader reader = {.at = program, .graph = graphs_new("program"), .state = 1};
    char name[32];
    while (!take(&reader, "->")) {
        read_statement(&reader);
        expect(&reader, ";");
    }
    for (skip_space(&reader); *reader.at; skip_space(&reader)) {
        char port[40];
        read_name(&reader, name);
        snprintf(port, sizeof port, "%s_%d", name, reader.graph->output_count);
        graphs_output(reader.graph, port, named(&reader, name));
    }
    return reader.graph;
}

/* ---- what passes make of it ---- */

/* The best backend with passes, or the reference without any. */
static struct md_executable *make(const char *program, bool plain, const char *without,
                                  struct md_pool *pool)
{
    struct md_error err;
    struct md_executable *executable;
    char off[1024] = "";
    for (int i = 0; plain && md_executable_pass_name(i); i++)
        snprintf(off + strlen(off), sizeof off - strlen(off), "%s%s", i ? "," : "",
                 md_executable_pass_name(i));
    const struct md_executable_options options = {.backend = plain ? md_cpu_reference()
                                                                   : md_cpu_backend(MD_ISA_BEST),
                                                  .reference = md_cpu_reference(),
                                                  .pool = pool,
                                                  .passes_off = plain ? off : without};
    assert_ok(md_executable_new(program_graph(program), &options, &executable, &err));
    return executable;
}

enum { STEPS_MAX = 200 };

static int count_of(const struct md_executable *executable, const char *op)
{
    const struct md_graph *graph = md_executable_graph(executable);
    struct md_step_time steps[STEPS_MAX];
    int count = 0, step_count = md_executable_profile(executable, steps, STEPS_MAX);
    for (int n = 0; *op != '*' && n < graph->node_count; n++)
        count += strcmp(md_op_info(graph->nodes[n].op)->name, op) == 0;
    for (int s = 0; *op == '*' && s < step_count && s < STEPS_MAX; s++)
        count += strcmp(md_op_info(steps[s].node->op)->name, op + 1) == 0;
    return count;
}

static void check_counts(const char *program, const struct md_executable *executable,
                         const char *wanted)
{
    char op[64];
    int count, used;
    for (; sscanf(wanted, " %63s %d%n", op, &count, &used) == 2; wanted += used)
        if (count_of(executable, op) != count)
            fail_msg("%s: %d times %s, wanted %d", program, count_of(executable, op), op, count);
}

static void compare(const char *program, const struct md_tensor *want, const struct md_tensor *have,
                    double tolerance)
{
    char a[100], b[100];
    if (want->dtype != have->dtype || !md_shape_equal(&want->shape, &have->shape))
        fail_msg("%s: %s, wanted %s", program, md_shape_text(&have->shape, a, sizeof a),
                 md_shape_text(&want->shape, b, sizeof b));
    if (want->dtype != MD_F32) {
        assert_memory_equal(want->data, have->data, md_tensor_bytes(want));
        return;
    }
    double largest = 0;
    const float *x = want->data, *y = have->data;
    for (size_t i = 0; i < md_tensor_count(want); i++)
        largest = isfinite(x[i]) ? fmax(largest, fabs((double)x[i])) : largest;
    for (size_t i = 0; i < md_tensor_count(want); i++)
        if (x[i] != y[i] && !(isnan(x[i]) && isnan(y[i])) &&
            !(fabs((double)x[i] - (double)y[i]) <= tolerance * largest + 1e-7))
            fail_msg("%s: [%zu] is %.9g, wanted %.9g", program, i, (double)y[i], (double)x[i]);
}

static void run_both(const char *program, struct md_executable *const executables[2], int64_t size,
                     double tolerance)
{
    struct md_error err;
    const struct md_graph *graph = md_executable_graph(executables[0]);
    struct md_tensor in[8], out[2][8];
    uint64_t state = 7;
    int outputs = graph->output_count;
    assert_true(graph->input_count <= 8 && outputs <= 8);
    for (int i = 0; i < graph->input_count; i++) {
        struct md_shape shape = graph->values[graph->inputs[i].value].shape;
        for (int d = 0; d < shape.rank; d++)
            shape.dim[d] = shape.dim[d] < 0 ? size : shape.dim[d];
        in[i] = graphs_random(&state, shape.rank, shape.dim);
    }
    for (int e = 0; e < 2; e++)
        if (md_executable_run(executables[e], in, graph->input_count, out[e], outputs, &err))
            fail_msg("%s: %s", program, err.text);
    for (int i = 0; i < outputs; i++) {
        compare(program, &out[0][i], &out[1][i], tolerance);
        md_tensor_unref(&out[0][i]);
        md_tensor_unref(&out[1][i]);
    }
    for (int i = 0; i < graph->input_count; i++)
        md_tensor_unref(&in[i]);
}

void program_check(const char *program, const char *wanted, const char *off, double tolerance)
{
    struct md_error err;
    struct md_pool *pool;
    assert_ok(md_pool_new(2, 0, &pool, &err));
    struct md_executable *const executables[2] = {make(program, true, NULL, pool),
                                                  make(program, false, off, pool)};
    md__executable_set_guards(executables[1], true);
    run_both(program, executables, 5, tolerance);
    run_both(program, executables, 3, tolerance);
    check_counts(program, executables[1], wanted);
    md_executable_delete(executables[0]);
    md_executable_delete(executables[1]);
    md_pool_delete(pool);
}

void program_check_all(const struct program_case *cases, int count, const char *off,
                       double tolerance)
{
    for (int i = 0; i < count; i++)
        program_check(cases[i].program, cases[i].wanted, off, tolerance);
}

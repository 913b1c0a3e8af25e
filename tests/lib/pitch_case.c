/* Tensors with a pitch: see pitch_case.h. */
#include "pitch_case.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "kernels/cpu/common.h"

#define LINE_MIN 8  /* as the planner has it (plan_slices.c) */
#define APART    13 /* floats between lines: an odd number, so that lines begin anywhere */

/* A tensor of one case spread out; data NULL where it stays dense. */
struct spread {
    unsigned char *data;
    size_t lines, line, pitch; /* floats */
};

static struct spread spread_new(const struct md_tensor *tensor, bool takes, int fill)
{
    const struct md_shape *shape = &tensor->shape;
    struct spread spread = {0};
    if (!takes || tensor->dtype != MD_F32 || shape->rank < 2 || md__count(tensor) == 0 ||
        shape->dim[shape->rank - 1] < LINE_MIN)
        return spread;
    spread.line = (size_t)shape->dim[shape->rank - 1];
    spread.lines = md__count(tensor) / spread.line;
    spread.pitch = spread.line + APART;
    spread.data = malloc(spread.lines * spread.pitch * sizeof(float));
    assert_non_null(spread.data);
    memset(spread.data, fill, spread.lines * spread.pitch * sizeof(float));
    return spread;
}

/* Lines go to where they are spread, or come back. */
static void move_lines(const struct spread *spread, void *dense, bool out)
{
    size_t bytes = spread->line * sizeof(float);
    for (size_t l = 0; spread->data && l < spread->lines; l++) {
        unsigned char *there = spread->data + l * spread->pitch * sizeof(float);
        unsigned char *here = (unsigned char *)dense + l * bytes;
        memcpy(out ? here : there, out ? there : here, bytes);
    }
}

static bool gaps_hold(const struct spread *spread, int fill)
{
    for (size_t i = 0; spread->data && i < spread->lines * spread->pitch * sizeof(float); i++)
        if (i / sizeof(float) % spread->pitch >= spread->line && spread->data[i] != fill)
            return false;
    return true;
}

/* A Concat or Split along another axis than the last has no lines of its parts. */
static bool has_lines(const struct op_run *run)
{
    bool cuts = run->op_case->op == MD_OP_CONCAT || run->op_case->op == MD_OP_SPLIT;
    int rank = run->in[0].shape.rank;
    return run->in[0].dtype == MD_F32 &&
           (!cuts || md__axis(md_node_int(&run->node, "axis", 0), rank) == rank - 1);
}

static bool run_spread(struct op_run *run, struct op_ready *ready, const char *who)
{
    struct spread spread[OP_INPUTS_MAX + OP_OUTPUTS_MAX];
    struct md_tensor in[OP_INPUTS_MAX], out[OP_OUTPUTS_MAX];
    size_t pitch[OP_INPUTS_MAX + OP_OUTPUTS_MAX];
    struct md_error err = {.text = ""};
    uint32_t takes = ready->kernel->pitched;
    int count = run->in_count + run->out_count;
    memcpy(in, run->in, sizeof in);
    memcpy(out, run->out, sizeof out);
    for (int i = 0; i < count; i++) {
        bool made = i >= run->in_count;
        struct md_tensor *tensor = made ? &out[i - run->in_count] : &in[i];
        spread[i] = spread_new(tensor, takes & (made ? MD_PITCHED_OUT : MD_PITCHED_IN(i)),
                               made ? 0xA5 : 0xFF);
        pitch[i] = spread[i].data ? spread[i].pitch : 0;
        if (!made)
            move_lines(&spread[i], tensor->data, false);
        if (spread[i].data)
            tensor->data = spread[i].data;
    }
    ready->call.in = in;
    ready->call.out = out;
    ready->call.pitch = pitch;
    bool done = ready->kernel->run(&ready->call, &err) == MD_OK;
    if (!done)
        print_error("%s with pitches on %s: %s\n", run->op_case->name, who, err.text);
    for (int i = 0; i < count; i++) {
        bool made = i >= run->in_count;
        if (made && !gaps_hold(&spread[i], 0xA5)) {
            print_error("%s on %s: wrote between lines\n", run->op_case->name, who);
            done = false;
        }
        if (made)
            move_lines(&spread[i], run->out[i - run->in_count].data, true);
        free(spread[i].data);
    }
    return done;
}

int op_pitch_disagreements(const struct op_case *op_case, const struct op_run *expected,
                           struct md_pool *pool)
{
    const struct md_backend *backends[OP_BACKENDS_MAX];
    int count = op_backends(backends), wrong = 0;
    for (int b = 1; b < count; b++) {
        const struct md_kernel *kernel = backends[b]->kernels[op_case->op];
        struct md_error err;
        struct op_run run;
        struct op_ready ready;
        if (!kernel || !kernel->pitched || !has_lines(expected))
            continue;
        op_run_init(&run, op_case);
        enum op_result result = op_ready_init(&ready, &run, kernel, pool, &err);
        if (result == OP_DONE)
            wrong += !run_spread(&run, &ready, backends[b]->name) ||
                     !op_outputs_agree(&run, expected, backends[b]->name);
        if (result != OP_REFUSED)
            op_ready_fini(&ready);
        op_run_fini(&run);
    }
    return wrong;
}

/*
 * Elementwise operators that follow each other become one moondial.Chain (chain.h), whose kernel
 * runs all of them on a tile that stays in the cache.
 *
 *     exp(a * x + b), max(x - y, 0) / c, ...
 *
 * A chain takes in its operands' operators one at a time, as the walk comes by: where this node
 * alone reads an operand that an elementwise operator, or a chain, has made, and both results have
 * one shape. What is smaller than the result stays outside and broadcasts: it costs less there.
 * Devices run the operators themselves.
 */
#include "graph/chain.h"
#include "graph/rewrite.h"

struct program {
    struct md_chain chain;
    int in[MD_CHAIN_INPUTS_MAX];
};

/* A chain as it is, or an elementwise operator as a chain of one. */
static bool read_program(const struct md__rewrite *rewrite, const struct md_node *node,
                         struct program *program)
{
    int operands = md_chain_operands(node->op), count;
    if (node->op == MD_OP_CHAIN) {
        for (int i = 0; i < node->in_count; i++)
            program->in[i] = node->in[i];
        return md_chain_read(node, &program->chain, NULL) == MD_OK;
    }
    if (operands == 0 || (operands == 2 && node->in_count != 2))
        return false;
    *program = (struct program){.chain = {.inputs = 1, .count = 1}, .in = {node->in[0]}};
    struct md_chain_op *op = &program->chain.ops[0];
    op->op = node->op;
    if (!md__rw_activation(rewrite, node, op->numbers, &count) && node->op == MD_OP_CLIP)
        return false; /* by what only a run knows */
    if (operands == 2 && node->in[1] != node->in[0]) {
        program->in[program->chain.inputs++] = node->in[1];
        op->reads[1] = 1;
    }
    return md__rw_dtype(rewrite, node->in[0]) == MD_F32;
}

/* The operand that stands for a value, which becomes an input if it is none; false: too many. */
static bool take_input(struct program *program, int value, int *read)
{
    int i = 0;
    while (i < program->chain.inputs && program->in[i] != value)
        i++;
    if (i == MD_CHAIN_INPUTS_MAX)
        return false;
    program->in[i] = value;
    if (i == program->chain.inputs)
        program->chain.inputs++;
    *read = i;
    return true;
}

/* All that `from` does, and what its result is called now. */
static bool take_ops(struct program *program, const struct program *from, int *result)
{
    int before = program->chain.count;
    if (before + from->chain.count > MD_CHAIN_OPS_MAX)
        return false;
    for (int k = 0; k < from->chain.count; k++) {
        struct md_chain_op op = from->chain.ops[k];
        for (int i = 0; i < md_chain_operands(op.op); i++)
            if (op.reads[i] < 0)
                op.reads[i] -= before;
            else if (!take_input(program, from->in[op.reads[i]], &op.reads[i]))
                return false;
        program->chain.ops[program->chain.count++] = op;
    }
    *result = -program->chain.count;
    return true;
}

/* The program of the operator or chain that makes the value for one reader alone. */
static bool find_program(const struct md__rewrite *rewrite, int value, int result,
                         struct program *program)
{
    const struct md_node *node = md__rw_sole_maker(rewrite, value);
    return node && md__rw_alike(rewrite, value, result) && read_program(rewrite, node, program);
}

/* The first input is the one whose memory the result may take: one of its shape, best of all one
 * that nobody else reads. */
static void choose_first(const struct md__rewrite *rewrite, struct program *program, int result)
{
    int best = 0, most = -1;
    for (int i = 0; i < program->chain.inputs; i++) {
        int value = program->in[i];
        bool fits = md__rw_alike(rewrite, value, result) && !md__rw_constant(rewrite, value);
        int worth = fits ? 1 + md__rw_sole(rewrite, value) : 0;
        best = worth > most ? i : best;
        most = worth > most ? worth : most;
    }
    int first = program->in[0];
    program->in[0] = program->in[best];
    program->in[best] = first;
    for (int k = 0; k < program->chain.count; k++)
        for (int i = 0; i < md_chain_operands(program->chain.ops[k].op); i++) {
            int *read = &program->chain.ops[k].reads[i];
            *read = *read == 0 ? best : *read == best ? 0 : *read;
        }
}

static enum md_status rule(struct md__rewrite *rewrite, int n, void *context, struct md_error *err)
{
    (void)context;
    const struct md_node *node = &rewrite->graph->nodes[n];
    struct program own, from, made = {0};
    if (node->op == MD_OP_CHAIN || !read_program(rewrite, node, &own))
        return MD_OK;
    struct md_chain_op last = own.chain.ops[0];
    int out = node->out[0], result;
    for (int i = 0; i < md_chain_operands(last.op); i++) {
        int value = own.in[last.reads[i]];
        bool taken = find_program(rewrite, value, out, &from);
        if (taken ? !take_ops(&made, &from, &last.reads[i])
                  : !take_input(&made, value, &last.reads[i]))
            return MD_OK;
    }
    if (made.chain.count == 0 || made.chain.count == MD_CHAIN_OPS_MAX)
        return MD_OK;
    made.chain.ops[made.chain.count++] = last;
    choose_first(rewrite, &made, out);
    struct md_chain_lists lists;
    struct md_attr attrs[MD_CHAIN_ATTRS];
    md_chain_write(&made.chain, &lists, attrs);
    enum md_status status = md__rw_fused(rewrite, MD_OP_CHAIN, made.in, made.chain.inputs, attrs,
                                         MD_CHAIN_ATTRS, &result, err);
    if (!status && result != MD_NONE)
        md__rw_replace(rewrite, n, &result);
    return status;
}

enum md_status md__pass_chain(struct md_graph *graph, const struct md_executable_options *options,
                              struct md_pass_report *report, struct md_error *err)
{
    return options->accelerator ? MD_OK
                                : md__rewrite_run(graph, options, report, rule, NULL, NULL, err);
}

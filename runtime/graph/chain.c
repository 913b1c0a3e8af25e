/* Chains (chain.h): their attributes, their shape rule, and their body. */
#include "graph/chain.h"

#include <string.h>

#include "graph/infer.h"

int md_chain_operands(enum md_op op)
{
    static const enum md_op one[] = {
        MD_OP_ABS,        MD_OP_NEG,   MD_OP_EXP,      MD_OP_LOG,        MD_OP_SQRT,
        MD_OP_RECIPROCAL, MD_OP_ERF,   MD_OP_SIGMOID,  MD_OP_TANH,       MD_OP_RELU,
        MD_OP_ELU,        MD_OP_SWISH, MD_OP_MISH,     MD_OP_LEAKY_RELU, MD_OP_HARD_SIGMOID,
        MD_OP_HARD_SWISH, MD_OP_CLIP,  MD_OP_SOFTPLUS, MD_OP_GELU,
    };
    static const enum md_op two[] = {MD_OP_ADD, MD_OP_SUB, MD_OP_MUL,
                                     MD_OP_DIV, MD_OP_MIN, MD_OP_MAX};
    for (size_t i = 0; i < sizeof one / sizeof *one; i++)
        if (one[i] == op)
            return 1;
    for (size_t i = 0; i < sizeof two / sizeof *two; i++)
        if (two[i] == op)
            return 2;
    return 0;
}

static enum md_op op_of(const char *name)
{
    enum md_op op = 0;
    while (op < MD_OP_COUNT && (!md_chain_operands(op) || strcmp(md_op_info(op)->name, name) != 0))
        op++;
    return op;
}

/* Marks what an operator reads: inputs from bit 0 on, results from bit `inputs` on. */
static bool mark(const struct md_chain *chain, int k, int read, unsigned *marks)
{
    if (read >= chain->inputs || read < -k) /* results of those before it */
        return false;
    *marks |= 1u << (read >= 0 ? read : chain->inputs - 1 - read);
    return true;
}

enum md_status md_chain_read(const struct md_node *node, struct md_chain *chain,
                             struct md_error *err)
{
    const struct md_attr *ops = md_node_attr(node, "ops"), *reads = md_node_attr(node, "reads");
    const struct md_attr *numbers = md_node_attr(node, "numbers");
    bool listed =
        ops && ops->type == MD_ATTR_STRINGS && ops->count > 0 && ops->count <= MD_CHAIN_OPS_MAX &&
        reads && reads->type == MD_ATTR_INTS && reads->count == 2 * ops->count &&
        (!numbers || (numbers->type == MD_ATTR_FLOATS && numbers->count == 2 * ops->count));
    if (!listed || node->in_count > MD_CHAIN_INPUTS_MAX)
        return md_fail(err, MD_ERR_INVALID, "it takes 1 to %d operators and up to %d inputs",
                       MD_CHAIN_OPS_MAX, MD_CHAIN_INPUTS_MAX);
    unsigned marks = 0;
    *chain = (struct md_chain){.inputs = node->in_count, .count = ops->count};
    for (int k = 0; k < ops->count; k++) {
        struct md_chain_op *op = &chain->ops[k];
        op->op = op_of(ops->strings[k]);
        if (op->op == MD_OP_COUNT)
            return md_fail(err, MD_ERR_UNSUPPORTED, "no chain has %.40s", ops->strings[k]);
        for (int i = 0; i < 2; i++) {
            int64_t read = reads->ints[2 * k + i];
            op->numbers[i] = numbers ? numbers->floats[2 * k + i] : 0;
            op->reads[i] = (int)read;
            if (read != op->reads[i] ||
                (i < md_chain_operands(op->op) && !mark(chain, k, op->reads[i], &marks)))
                return md_fail(err, MD_ERR_INVALID, "operator %d reads what is not there", k);
        }
    }
    if (marks != (1u << (chain->inputs + chain->count - 1)) - 1)
        return md_fail(err, MD_ERR_INVALID, "something in it is not read");
    return MD_OK;
}

void md_chain_write(const struct md_chain *chain, struct md_chain_lists *lists,
                    struct md_attr attrs[MD_CHAIN_ATTRS])
{
    for (int k = 0; k < chain->count; k++) {
        lists->ops[k] = md_op_info(chain->ops[k].op)->name;
        for (int i = 0; i < 2; i++) {
            lists->reads[2 * k + i] = chain->ops[k].reads[i];
            lists->numbers[2 * k + i] = chain->ops[k].numbers[i];
        }
    }
    attrs[0] = (struct md_attr){
        .name = "ops", .type = MD_ATTR_STRINGS, .strings = lists->ops, .count = chain->count};
    attrs[1] = (struct md_attr)MD__INTS("reads", 2 * chain->count, lists->reads);
    attrs[2] = (struct md_attr){.name = "numbers",
                                .type = MD_ATTR_FLOATS,
                                .floats = lists->numbers,
                                .count = 2 * chain->count};
}

/* An operator of one operand could not broadcast it, so what it reads is as large as the output. */
MD_INFER_RULE(md_infer_chain)
{
    struct md_chain chain;
    enum md_status status = md_chain_read(node, &chain, err);
    if (!status)
        status = md__infer_dtype(in, 0, MD_F32, err);
    if (!status)
        status = md_infer_broadcast(node, in, in_count, out, out_count, err);
    for (int k = 0; !status && k < chain.count; k++) {
        int read = chain.ops[k].reads[0];
        if (md_chain_operands(chain.ops[k].op) == 1 && read >= 0)
            status =
                md__infer_expect(in, read, "an operand", out[0].shape.rank, out[0].shape.dim, err);
    }
    return status;
}

MD_BODY(md_body_chain)
{
    struct md_emit emit = {graph, node->name, err, MD_OK};
    struct md_chain chain;
    int results[MD_CHAIN_OPS_MAX];
    emit.status = md_chain_read(node, &chain, err);
    for (int k = 0; !emit.status && k < chain.count; k++) {
        const struct md_chain_op *op = &chain.ops[k];
        int in[2];
        for (int i = 0; i < md_chain_operands(op->op); i++)
            in[i] = op->reads[i] >= 0 ? node->in[op->reads[i]] : results[-1 - op->reads[i]];
        if (md_chain_operands(op->op) == 2)
            results[k] = md__emit_node(&emit, md_op_info(op->op)->name, in, 2, NULL, 0);
        else
            results[k] = md__emit_operator(
                &emit,
                &(struct md_activation){.op = op->op, .a = op->numbers[0], .b = op->numbers[1]},
                in[0]);
    }
    outputs[0] = emit.status ? MD_NONE : results[chain.count - 1];
    return emit.status;
}

/*
 * moondial.Chain: all operators of a chain on one tile of the result after the other. What lies
 * between two operators is a tile of scratch in the first-level cache, which the next one may
 * overwrite; the last one stores to the result. Arithmetic and order are those of the operators by
 * themselves, so results are the same to the bit.
 *
 * The result may lie over input 0: a tile of it is stored when all of the tile has been read.
 */
#include "graph/chain.h"
#include "kernels/cpu/isa/elementwise.h"
#include "kernels/cpu/isa/kernels.h"

#define TILE ((size_t)1024) /* elements */

/* Where each operator's result lies between operators; how many tiles that takes. */
static int choose_slots(const struct md_chain *chain, int slots[MD_CHAIN_OPS_MAX])
{
    int last[MD_CHAIN_OPS_MAX], count = 0;
    unsigned taken = 0;
    for (int k = 0; k < chain->count; k++)
        for (int i = 0; i < md_chain_operands(chain->ops[k].op); i++)
            if (chain->ops[k].reads[i] < 0)
                last[-1 - chain->ops[k].reads[i]] = k;
    for (int k = 0; k < chain->count - 1; k++) {
        for (int i = 0; i < md_chain_operands(chain->ops[k].op); i++) {
            int read = -1 - chain->ops[k].reads[i];
            if (read >= 0 && last[read] == k)
                taken &= ~(1u << slots[read]);
        }
        slots[k] = __builtin_ctz(~taken);
        taken |= 1u << slots[k];
        count = slots[k] < count ? count : slots[k] + 1;
    }
    return count;
}

/* An operator, made ready: what it reads are inputs, or slots where `input` is NULL. */
struct link {
    int operands, slots[2], slot;
    const float *input[2];
    struct unary unary;
    struct binary binary;
};

struct links {
    struct link links[MD_CHAIN_OPS_MAX];
    int count, slot_count;
    float *y, *scratch;
    size_t elements;
};

static void run_link(const struct links *links, int k, float *slots, size_t begin, size_t end)
{
    const struct link *link = &links->links[k];
    bool last = k == links->count - 1;
    float *y = last ? links->y + begin : slots + (size_t)link->slot * TILE;
    const float *read[2];
    for (int i = 0; i < link->operands; i++)
        read[i] = link->input[i] ? link->input[i] : slots + (size_t)link->slots[i] * TILE;
    if (link->operands == 1) {
        struct unary unary = link->unary;
        unary.x = link->input[0] ? read[0] + begin : read[0];
        unary.y = y;
        md__unary_elements(&unary, 0, end - begin);
        return;
    }
    struct binary binary = link->binary;
    binary.a = read[0];
    binary.b = read[1];
    binary.y = y;
    for (int i = 0; i < 2; i++)
        binary.first[i] = link->input[i] ? 0 : begin;
    binary.first[2] = begin;
    md__binary_elements(&binary, begin, end);
}

/* Items are tiles. */
static void run_tiles(void *context, size_t begin, size_t end, int thread)
{
    const struct links *links = context;
    float *slots = links->scratch + (size_t)thread * (size_t)links->slot_count * TILE;
    for (size_t tile = begin; tile < end; tile++) {
        size_t first = tile * TILE, left = links->elements - first;
        for (int k = 0; k < links->count; k++)
            run_link(links, k, slots, first, first + (left < TILE ? left : TILE));
    }
}

static struct link link_of(const struct md_kernel_call *call, const struct md_chain *chain, int k,
                           const int *slots)
{
    const struct md_chain_op *op = &chain->ops[k];
    const struct md_shape *out = &call->out[0].shape, *shapes[2];
    struct link link = {.operands = md_chain_operands(op->op), .slot = slots[k]};
    for (int i = 0; i < link.operands; i++) {
        bool input = op->reads[i] >= 0;
        link.input[i] = input ? call->in[op->reads[i]].data : NULL;
        link.slots[i] = input ? 0 : slots[-1 - op->reads[i]];
        shapes[i] = input ? &call->in[op->reads[i]].shape : out;
    }
    link.binary.op = op->op;
    if (link.operands == 2)
        md__binary_shapes(&link.binary, shapes[0], shapes[1], out, NULL);
    else
        link.unary = md__unary_of(
            &(struct md_activation){.op = op->op, .a = op->numbers[0], .b = op->numbers[1]});
    return link;
}

static enum md_status chain_run(const struct md_kernel_call *call, struct md_error *err)
{
    struct md_chain chain;
    struct links links = {
        .y = call->out[0].data, .scratch = call->scratch, .elements = md__count(&call->out[0])};
    int slots[MD_CHAIN_OPS_MAX] = {0};
    enum md_status status = md_chain_read(call->node, &chain, err);
    if (status || links.elements == 0)
        return status;
    links.count = chain.count;
    links.slot_count = choose_slots(&chain, slots);
    for (int k = 0; k < chain.count; k++)
        links.links[k] = link_of(call, &chain, k, slots);
    md__parallel(call->pool, (links.elements + TILE - 1) / TILE,
                 md__grain(TILE * (size_t)chain.count / 2), run_tiles, &links);
    return MD_OK;
}

static size_t chain_scratch(const struct md_node *node, const struct md_tensor *in, int in_count,
                            int threads)
{
    struct md_chain chain;
    int slots[MD_CHAIN_OPS_MAX];
    (void)in, (void)in_count;
    if (md_chain_read(node, &chain, NULL))
        return 0;
    return (size_t)threads * (size_t)choose_slots(&chain, slots) * TILE * sizeof(float);
}

const struct md_kernel md__chain = {
    .supports = md__all_f32, .scratch_bytes = chain_scratch, .run = chain_run, .in_place = true};

/*
 * The body of VariableSelection: each real column through its prescaler and its network, scores
 * from all of them together, and the sum that the scores weigh.
 */
#include <stdlib.h>

#include "graph/body.h"
#include "graph/selection.h"

static int emit_linear(struct md_emit *emit, const struct md_node *node, int x, int weight)
{
    return md__emit_node(emit, "moondial.Linear",
                         MD__IDS(x, node->in[weight], node->in[weight + 1]), NULL, 0);
}

/* A GatedResidualNetwork over x whose weights are `weights`, in the operator's order from 1 on. */
static int emit_network(struct md_emit *emit, const struct md_node *node, int x, const int *weights)
{
    int in[MD_SELECTION_SCORES] = {x};
    int count = MD_SELECTION_SCORES;
    for (int i = 1; i < MD_SELECTION_SCORES; i++)
        in[i] = weights[i];
    while (in[count - 1] == MD_NONE)
        count--;
    return md__emit_node(emit, "moondial.GatedResidualNetwork", in, count,
                         MD__ATTRS(MD__FLOAT("epsilon", md_node_float(node, "epsilon", 1e-5))));
}

/* One real variable: prescaled [.., S] and encoded [.., H]. */
static void emit_real(struct md_emit *emit, const struct md_node *node, int64_t column, int at,
                      int *prescaled, int *encoded)
{
    int x = md__emit_node(emit, "Slice",
                          MD__IDS(node->in[0], md__emit_ints(emit, 1, (int64_t[]){column}),
                                  md__emit_ints(emit, 1, (int64_t[]){column + 1}),
                                  md__emit_ints(emit, 1, (int64_t[]){-1})),
                          NULL, 0);
    int weights[MD_SELECTION_SCORES];
    for (int i = 1; i < 9; i++)
        weights[i] = node->in[at + MD_REAL_FC1 + i - 1];
    weights[9] = weights[10] = MD_NONE;
    for (int i = 0; i < 3; i++)
        weights[11 + i] = md__body_in(node, at + MD_REAL_RESAMPLE + i);
    *prescaled = emit_linear(emit, node, x, at + MD_REAL_PRESCALE);
    *encoded = emit_network(emit, node, *prescaled, weights);
}

MD_BODY(md_body_selection)
{
    struct md_emit emit = {graph, node->name, err, MD_OK};
    struct md_selection selection;
    if (!md__selection_of(node, &selection))
        return md_fail(err, MD_ERR_INVALID,
                       "attributes categoricals and columns do not fit %d inputs", node->in_count);
    int variables = selection.categoricals + selection.reals;
    int *values = malloc(2 * ((size_t)variables + 1) * sizeof *values);
    if (!values)
        return md_fail(err, MD_ERR_MEMORY, "out of memory");
    int *parts = values, *summed = values + variables; /* summed[0] will be the weights */
    for (int i = 0; i < selection.categoricals; i++) {
        parts[i] = node->in[md__selection_categorical(i)];
        summed[1 + i] = node->in[md__selection_categorical(i) + 1];
    }
    for (int i = 0; i < selection.reals; i++) {
        int v = selection.categoricals + i;
        emit_real(&emit, node, selection.columns[i], md__selection_real(&selection, i), &parts[v],
                  &summed[1 + v]);
    }
    int all = md__emit_node(&emit, "Concat", parts, variables, MD__ATTRS(MD__INT("axis", -1)));
    int scores = emit_network(&emit, node, all, node->in);
    summed[0] = md__emit_node(&emit, "Softmax", MD__IDS(scores), MD__ATTRS(MD__INT("axis", -1)));
    outputs[0] = md__emit_node(&emit, "moondial.WeightedSum", summed, variables + 1, NULL, 0);
    free(values);
    return emit.status;
}

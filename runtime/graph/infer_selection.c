/*
 * The shape rule of VariableSelection, and how its inputs are found (selection.h).
 */
#include "graph/infer.h"
#include "graph/selection.h"

bool md__selection_of(const struct md_node *node, struct md_selection *selection)
{
    const struct md_attr *columns = md_node_attr(node, "columns");
    int64_t categoricals = md_node_int(node, "categoricals", 0);
    *selection = (struct md_selection){0};
    if (columns && columns->type != MD_ATTR_INTS)
        return false;
    if (categoricals < 0 || categoricals > node->in_count)
        return false;
    selection->categoricals = (int)categoricals;
    selection->reals = columns ? columns->count : 0;
    selection->columns = columns ? columns->ints : NULL;
    int64_t inputs = MD_SELECTION_SCORES + MD_SELECTION_PER_CATEGORICAL * categoricals +
                     MD_SELECTION_PER_REAL * (int64_t)selection->reals;
    /* optional inputs at the end may be left out */
    return selection->reals > 0 && node->in_count <= inputs &&
           node->in_count >= inputs - (MD_SELECTION_PER_REAL - MD_REAL_RESAMPLE);
}

struct rule {
    const struct md_value_info *in;
    int in_count;
    struct md_error *err;
    enum md_status status; /* the first failure */
};

/* Input i is there and has these dimensions; b == MD_NONE: a vector. */
static void expect(struct rule *rule, int i, const char *what, int64_t a, int64_t b)
{
    if (rule->status)
        return;
    if (!md__has(rule->in, rule->in_count, i)) {
        rule->status = md_fail(rule->err, MD_ERR_INVALID, "%s (input %d) is missing", what, i);
        return;
    }
    rule->status = md__infer_dtype(rule->in, i, MD_F32, rule->err);
    if (!rule->status)
        rule->status =
            md__infer_expect(rule->in, i, what, b == MD_NONE ? 1 : 2, (int64_t[]){a, b}, rule->err);
}

/* The first dimension of a weight that should be a matrix or vector; -1 matches none. */
static int64_t first_dim(const struct rule *rule, int i)
{
    bool there = md__has(rule->in, rule->in_count, i) && rule->in[i].shape.rank > 0;
    return there ? rule->in[i].shape.dim[0] : -1;
}

/* fc1 `inputs` -> hidden, perhaps fc2, and a GLU with norm to `units`; `at` is fc1's weight. */
static void expect_network(struct rule *rule, int at, int norm, int64_t inputs, int64_t units)
{
    int64_t hidden = first_dim(rule, at + 1);
    expect(rule, at, "fc1_weight", hidden, inputs);
    expect(rule, at + 1, "fc1_bias", hidden, MD_NONE);
    if (md__has(rule->in, rule->in_count, at + 2) || md__has(rule->in, rule->in_count, at + 3)) {
        expect(rule, at + 2, "fc2_weight", hidden, hidden);
        expect(rule, at + 3, "fc2_bias", hidden, MD_NONE);
    }
    expect(rule, at + 4, "glu_weight", 2 * units, hidden);
    expect(rule, at + 5, "glu_bias", 2 * units, MD_NONE);
    expect(rule, norm, "gamma", units, MD_NONE);
    expect(rule, norm + 1, "beta", units, MD_NONE);
}

/* gamma, beta and perhaps gate from input `at` on; needed when a network changes its width. */
static void expect_resample(struct rule *rule, int at, int64_t inputs, int64_t units)
{
    bool there = md__has(rule->in, rule->in_count, at);
    if (there || inputs != units) {
        expect(rule, at, "resample_gamma", units, MD_NONE);
        expect(rule, at + 1, "resample_beta", units, MD_NONE);
    }
    if (md__has(rule->in, rule->in_count, at + 2))
        expect(rule, at + 2, "resample_gate", units, MD_NONE);
}

/* Input i has the rows of x; returns its features. */
static int64_t expect_rows(struct rule *rule, int i, const char *what, int64_t features)
{
    struct md_shape want = rule->in[0].shape;
    if (rule->status)
        return 0;
    want.dim[want.rank - 1] = features;
    rule->status = md__infer_dtype(rule->in, i, MD_F32, rule->err);
    if (!rule->status)
        rule->status = md__infer_expect(rule->in, i, what, want.rank, want.dim, rule->err);
    return rule->status ? 0 : rule->in[i].shape.dim[want.rank - 1];
}

static void expect_context(struct rule *rule)
{
    bool there = md__has(rule->in, rule->in_count, 9);
    const struct md_shape *x = &rule->in[0].shape, *context = &rule->in[9].shape;
    if (rule->status || (!there && !md__has(rule->in, rule->in_count, 10)))
        return;
    bool fits = there && rule->in[9].dtype == MD_F32 && context->rank == x->rank;
    for (int i = 0; fits && i < x->rank - 1; i++)
        fits = context->dim[i] == x->dim[i] || context->dim[i] == 1;
    if (!fits) {
        rule->status = md_fail(rule->err, MD_ERR_INVALID, "context does not fit x of shape %s",
                               MD_SHAPE(rule->in[0]));
        return;
    }
    expect(rule, 10, "context_weight", first_dim(rule, 2), context->dim[context->rank - 1]);
}

MD_INFER_RULE(md_infer_selection)
{
    (void)out_count;
    struct md_selection selection;
    struct rule rule = {in, in_count, err, MD_OK};
    if (!md__selection_of(node, &selection))
        return md_fail(err, MD_ERR_INVALID,
                       "attributes categoricals and columns do not fit %d inputs", in_count);
    rule.status = md__infer_dtype(in, 0, MD_F32, err);
    if (!rule.status && in[0].shape.rank < 1)
        rule.status = md_fail(err, MD_ERR_INVALID, "x is a scalar");
    int64_t total = 0, units = first_dim(&rule, md__selection_real(&selection, 0) + MD_REAL_NORM);
    for (int i = 0; i < selection.categoricals && !rule.status; i++) {
        int at = md__selection_categorical(i);
        total += expect_rows(&rule, at, "embedded", -1);
        expect_rows(&rule, at + 1, "encoded", units);
    }
    for (int i = 0; i < selection.reals && !rule.status; i++) {
        int at = md__selection_real(&selection, i);
        int64_t size = first_dim(&rule, at + 1);
        if (selection.columns[i] < 0 ||
            selection.columns[i] >= in[0].shape.dim[in[0].shape.rank - 1])
            return md_fail(err, MD_ERR_INVALID, "x of shape %s has no column %lld", MD_SHAPE(in[0]),
                           (long long)selection.columns[i]);
        expect(&rule, at, "prescaler weight", size, 1);
        expect(&rule, at + 1, "prescaler bias", size, MD_NONE);
        expect_network(&rule, at + MD_REAL_FC1, at + MD_REAL_NORM, size, units);
        expect_resample(&rule, at + MD_REAL_RESAMPLE, size, units);
        total += size;
    }
    int64_t variables = selection.categoricals + selection.reals;
    expect_network(&rule, 1, 7, total, variables);
    expect_resample(&rule, 11, total, variables);
    expect_context(&rule);
    if (rule.status)
        return rule.status;
    out[0].dtype = MD_F32;
    out[0].shape = in[0].shape;
    out[0].shape.dim[in[0].shape.rank - 1] = units;
    return MD_OK;
}

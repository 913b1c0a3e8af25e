/*
 * Reading Einsum's equation: see einsum.h. Symbols are numbered A..Z, a..z, then the axes of the
 * ellipsis, which is the order that an implicit output sorts its letters in; labels are numbered
 * last, output first.
 */
#include "graph/einsum.h"

#include <ctype.h>
#include <string.h>

enum { LETTERS = 52, ELLIPSIS = LETTERS, SYMBOLS = MD__EINSUM_LABELS_MAX, TERM_MAX = 64 };

/* One comma-separated term: its symbols in order, ELLIPSIS standing for all axes of it. */
struct term {
    int symbol[TERM_MAX];
    int count;
    bool ellipsis;
};

struct reading {
    struct term terms[MD__EINSUM_OPERANDS_MAX], output;
    int count, ellipsis_rank;
    bool explicit_output;
    int uses[SYMBOLS]; /* in all operands */
    int64_t dim[SYMBOLS];
};

static int symbol_of(char letter)
{
    return isupper((unsigned char)letter) ? letter - 'A' : letter - 'a' + 26;
}

/* Reads up to a comma, an arrow or the end. */
static enum md_status read_term(const char **at, struct term *term, struct md_error *err)
{
    *term = (struct term){0};
    for (; **at && **at != ',' && strncmp(*at, "->", 2) != 0; (*at)++) {
        bool dots = strncmp(*at, "...", 3) == 0;
        if (**at == ' ')
            continue;
        if (term->count == TERM_MAX || (dots && term->ellipsis) ||
            (!dots && (!isascii(**at) || !isalpha((unsigned char)**at))))
            return md_fail(err, MD_ERR_INVALID, "equation has an unexpected \"%.8s\"", *at);
        term->symbol[term->count++] = dots ? ELLIPSIS : symbol_of(**at);
        term->ellipsis |= dots;
        *at += dots ? 2 : 0;
    }
    return MD_OK;
}

static enum md_status read_terms(const char *equation, struct reading *reading,
                                 struct md_error *err)
{
    const char *at = equation;
    enum md_status status = MD_OK;
    do {
        if (reading->count == MD__EINSUM_OPERANDS_MAX)
            return md_fail(err, MD_ERR_UNSUPPORTED, "equation with more than %d operands",
                           MD__EINSUM_OPERANDS_MAX);
        status = read_term(&at, &reading->terms[reading->count++], err);
    } while (!status && *at == ',' && *at++);
    if (status || *at == '\0')
        return status;
    reading->explicit_output = true;
    at += 2; /* the arrow */
    status = read_term(&at, &reading->output, err);
    if (!status && *at)
        status = md_fail(err, MD_ERR_INVALID, "equation goes on after its output: \"%.8s\"", at);
    return status;
}

/* Axes that the ellipsis of a term stands for, or -1 when the term cannot have this rank. */
static int ellipsis_axes(const struct term *term, int rank)
{
    int axes = rank - (term->count - (term->ellipsis ? 1 : 0));
    return axes < 0 || (axes > 0 && !term->ellipsis) ? -1 : axes;
}

/* Spells the ellipsis out: symbols of `axes` axes, aligned at the last of ellipsis_rank. */
static void spell_out(struct term *term, int axes, int ellipsis_rank)
{
    struct term whole = {.ellipsis = term->ellipsis};
    for (int i = 0; i < term->count; i++) {
        if (term->symbol[i] != ELLIPSIS)
            whole.symbol[whole.count++] = term->symbol[i];
        for (int k = 0; term->symbol[i] == ELLIPSIS && k < axes; k++)
            whole.symbol[whole.count++] = LETTERS + ellipsis_rank - axes + k;
    }
    *term = whole;
}

static enum md_status take_shapes(struct reading *reading, const struct md_shape *const *operands,
                                  struct md_error *err)
{
    for (int i = 0; i < reading->count; i++) {
        int axes = ellipsis_axes(&reading->terms[i], operands[i]->rank);
        if (axes < 0)
            return md_fail(err, MD_ERR_INVALID, "term %d of the equation has no %d axes", i,
                           operands[i]->rank);
        reading->ellipsis_rank = axes > reading->ellipsis_rank ? axes : reading->ellipsis_rank;
    }
    for (int s = 0; s < SYMBOLS; s++)
        reading->dim[s] = 1;
    for (int i = 0; i < reading->count; i++) {
        struct term *term = &reading->terms[i];
        spell_out(term, ellipsis_axes(term, operands[i]->rank), reading->ellipsis_rank);
        for (int k = 0; k < term->count; k++) {
            int64_t dim = operands[i]->dim[k], *known = &reading->dim[term->symbol[k]];
            if (dim != 1 && *known != 1 && dim != *known)
                return md_fail(err, MD_ERR_INVALID,
                               "a label of the equation stands for %lld and for %lld",
                               (long long)*known, (long long)dim);
            *known = *known == 1 ? dim : *known;
            reading->uses[term->symbol[k]]++;
        }
    }
    return MD_OK;
}

/* Without an arrow: the ellipsis, then the letters that occur once. */
static void imply_output(struct reading *reading)
{
    reading->output = (struct term){.count = 1, .symbol = {ELLIPSIS}};
    for (int s = 0; s < LETTERS; s++)
        if (reading->uses[s] == 1)
            reading->output.symbol[reading->output.count++] = s;
}

/* Numbers the labels: those of the output, then the rest. */
static enum md_status number_labels(const struct reading *reading, struct md__einsum *einsum,
                                    struct md_error *err)
{
    int label_of[SYMBOLS];
    for (int s = 0; s < SYMBOLS; s++)
        label_of[s] = -1;
    for (int k = 0; k < reading->output.count; k++) {
        int s = reading->output.symbol[k];
        if (label_of[s] >= 0 || reading->uses[s] == 0)
            return md_fail(err, MD_ERR_INVALID,
                           "equation's output repeats a label or has one of its own");
        label_of[s] = einsum->labels++;
    }
    einsum->out_rank = einsum->labels;
    for (int s = 0; s < SYMBOLS; s++) {
        if (reading->uses[s] && label_of[s] < 0)
            label_of[s] = einsum->labels++;
        if (label_of[s] >= 0)
            einsum->dim[label_of[s]] = reading->dim[s];
    }
    for (int i = 0; i < reading->count; i++)
        for (int k = 0; k < reading->terms[i].count; k++)
            einsum->label[i][k] = label_of[reading->terms[i].symbol[k]];
    return MD_OK;
}

enum md_status md__einsum_parse(const char *equation, const struct md_shape *const *operands,
                                int count, struct md__einsum *einsum, struct md_error *err)
{
    struct reading reading = {.count = 0};
    memset(einsum, 0, sizeof *einsum);
    enum md_status status = read_terms(equation, &reading, err);
    if (!status && reading.count != count)
        status = md_fail(err, MD_ERR_INVALID, "equation has %d terms for %d inputs", reading.count,
                         count);
    if (!status)
        status = take_shapes(&reading, operands, err);
    if (status)
        return status;
    if (!reading.explicit_output)
        imply_output(&reading);
    spell_out(&reading.output, reading.ellipsis_rank, reading.ellipsis_rank);
    if (reading.output.count > MD_RANK_MAX)
        return md_fail(err, MD_ERR_UNSUPPORTED, "equation makes rank %d, allowed are %d",
                       reading.output.count, MD_RANK_MAX);
    return number_labels(&reading, einsum, err);
}

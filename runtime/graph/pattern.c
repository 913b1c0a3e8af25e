/*
 * Reading and matching of patterns (pattern.h). Matching walks from the last value to the first
 * ones. Of the orders of an Add's or a Mul's operands the first one that fits is taken, so a
 * pattern should be written with what decides first; choices inside an operand are not revisited.
 */
#include "graph/pattern.h"

#include <ctype.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "graph/pattern_text.h"

#define NUMBER_TOLERANCE 1e-5
enum { OPERANDS_MAX = 8 };

/* ---- reading ---- */

static int read_term(struct md__text *text, struct md__pattern *pattern);

static int add_term(struct md__text *text, struct md__pattern *pattern, struct md__term term)
{
    if (pattern->term_count == MD_PATTERN_TERMS) {
        text->bad = true;
        return 0;
    }
    pattern->terms[pattern->term_count] = term;
    return pattern->term_count++;
}

static int slot_of(struct md__text *text, struct md__pattern *pattern, const char *name)
{
    for (int i = 0; i < pattern->slot_count; i++)
        if (strcmp(pattern->names[i], name) == 0)
            return i;
    if (pattern->slot_count == MD_PATTERN_SLOTS || strlen(name) >= sizeof *pattern->names) {
        text->bad = true;
        return 0;
    }
    strcpy(pattern->names[pattern->slot_count], name);
    return pattern->slot_count++;
}

/* alpha=2 or alpha~2; false, and nothing read, when something else comes. */
static bool read_attr(struct md__text *text, struct md__term *term)
{
    struct md__text ahead = *text;
    char name[MD_TEXT_NAME];
    md__text_name(&ahead, name);
    if (ahead.bad || (*ahead.at != '=' && *ahead.at != '~'))
        return false;
    bool optional = *ahead.at++ == '~';
    *text = ahead;
    if (term->attr_count == MD_PATTERN_ATTRS || strlen(name) >= sizeof term->attrs[0].name ||
        !md__text_number(text, &term->attrs[term->attr_count].number)) {
        text->bad = true;
        return true;
    }
    strcpy(term->attrs[term->attr_count].name, name);
    term->attrs[term->attr_count++].optional = optional;
    return true;
}

/* Inputs up to the closing parenthesis. */
static void read_args(struct md__text *text, struct md__pattern *pattern, struct md__term *term,
                      const char *separator)
{
    do {
        if (read_attr(text, term))
            continue;
        if (term->arg_count == MD_PATTERN_ARGS) {
            text->bad = true;
            return;
        }
        term->args[term->arg_count++] = read_term(text, pattern);
    } while (!text->bad && md__text_take(text, separator));
    md__text_expect(text, ")");
}

static int read_operator(struct md__text *text, struct md__pattern *pattern, const char *name,
                         int slot)
{
    struct md__term term = {.kind = MD_TERM_OP, .slot = slot};
    term.last_axis = strcmp(name, "LastMean") == 0;
    if (md_op_find(term.last_axis ? "ReduceMean" : name, &term.op, NULL))
        text->bad = true;
    term.lends = md__text_take(text, "*");
    md__text_expect(text, "(");
    read_args(text, pattern, &term, ",");
    return add_term(text, pattern, term);
}

static int read_term(struct md__text *text, struct md__pattern *pattern)
{
    char name[MD_TEXT_NAME];
    struct md__term term = {.slot = MD_NONE};
    if (text->bad)
        return 0;
    if (md__text_take(text, "(")) {
        term.kind = MD_TERM_EITHER;
        read_args(text, pattern, &term, "|");
        return add_term(text, pattern, term);
    }
    if (md__text_take(text, "1/")) {
        term.kind = MD_TERM_INVERSE;
        term.args[term.arg_count++] = read_term(text, pattern);
        return add_term(text, pattern, term);
    }
    if (md__text_number(text, &term.number)) {
        term.kind = MD_TERM_NUMBER;
        return add_term(text, pattern, term);
    }
    term.kind = md__text_take(text, "#")   ? MD_TERM_CAPTURE
                : md__text_take(text, "@") ? MD_TERM_CONSTANT
                                           : MD_TERM_VALUE;
    md__text_name(text, name);
    if (isupper((unsigned char)name[0]))
        return read_operator(text, pattern, name, MD_NONE);
    term.slot = slot_of(text, pattern, name);
    if (md__text_take(text, ":")) {
        md__text_name(text, name);
        return read_operator(text, pattern, name, term.slot);
    }
    return add_term(text, pattern, term);
}

enum md_status md__graph_pattern_read(const char *text, struct md__pattern *pattern,
                                      struct md_error *err)
{
    struct md__text reader = {.at = text};
    *pattern = (struct md__pattern){0};
    pattern->root = read_term(&reader, pattern);
    return reader.bad || *reader.at ? md_fail(err, MD_ERR_INTERNAL, "no pattern: \"%.100s\"", text)
                                    : MD_OK;
}

/* ---- matching ---- */

struct matching {
    const struct md__rewrite *rewrite;
    const struct md__pattern *pattern;
};

/* Terms of a sum or factors of a product. */
struct operands {
    int values[OPERANDS_MAX];
    bool inverse[OPERANDS_MAX]; /* a factor 1/value */
    int count;
    bool numbered, many; /* many: more than there is room for */
    double number;       /* all numbers among them, as one */
};

static bool match_term(const struct matching *matching, int at, int value, struct md__match *match);

static bool near(double a, double b)
{
    return fabs(a - b) <= NUMBER_TOLERANCE * fabs(b);
}

static bool one_number(const struct md__rewrite *rewrite, int value, double *number)
{
    const struct md_tensor *constant = md__rw_constant(rewrite, value);
    return constant && md_tensor_count(constant) == 1 && md__rw_number(rewrite, value, number);
}

static void push(const struct md__rewrite *rewrite, int value, bool adds, bool inverse,
                 struct operands *operands)
{
    double number;
    if (one_number(rewrite, value, &number)) {
        if (!operands->numbered)
            operands->number = adds ? 0 : 1;
        operands->numbered = true;
        if (adds)
            operands->number += inverse ? -number : number;
        else
            operands->number *= inverse ? 1 / number : number;
        return;
    }
    operands->many |= operands->count == OPERANDS_MAX;
    if (operands->many)
        return;
    operands->values[operands->count] = value;
    operands->inverse[operands->count++] = inverse;
}

/* What the value is a sum or a product of. */
static void collect(const struct md__rewrite *rewrite, int value, bool adds, int depth,
                    struct operands *operands)
{
    bool root = depth == 0;
    const struct md_node *node = md__rw_maker(rewrite, value, adds ? MD_OP_ADD : MD_OP_MUL);
    const struct md_node *back = md__rw_maker(rewrite, value, adds ? MD_OP_SUB : MD_OP_DIV);
    const struct md_node *turned = adds ? NULL : md__rw_maker(rewrite, value, MD_OP_RECIPROCAL);
    double number;
    operands->many |= depth > OPERANDS_MAX; /* every level brings one at least */
    if (operands->many)
        return;
    if (node && (root || md__rw_sole(rewrite, value))) {
        collect(rewrite, node->in[0], adds, depth + 1, operands);
        collect(rewrite, node->in[1], adds, depth + 1, operands);
    } else if (back && (root || md__rw_sole(rewrite, value)) &&
               (!adds || one_number(rewrite, back->in[1], &number))) {
        collect(rewrite, back->in[0], adds, depth + 1, operands);
        push(rewrite, back->in[1], adds, true, operands);
    } else if (turned && !root) {
        push(rewrite, turned->in[0], false, true, operands);
    } else {
        push(rewrite, value, adds, false, operands);
    }
}

/* Finds an operand for each argument from `arg` on; used: bits of operands that are taken. */
static bool assign(const struct matching *matching, const struct md__term *term, int arg,
                   const struct operands *operands, unsigned used, struct md__match *match)
{
    const struct md__pattern *pattern = matching->pattern;
    while (arg < term->arg_count && (pattern->terms[term->args[arg]].kind == MD_TERM_NUMBER ||
                                     pattern->terms[term->args[arg]].kind == MD_TERM_CAPTURE))
        arg++;
    if (arg == term->arg_count)
        return used == (1u << operands->count) - 1;
    const struct md__term *wanted = &pattern->terms[term->args[arg]];
    bool inverse = wanted->kind == MD_TERM_INVERSE;
    for (int i = 0; i < operands->count; i++) {
        struct md__match tried = *match;
        if ((used >> i & 1) || operands->inverse[i] != inverse ||
            !match_term(matching, inverse ? wanted->args[0] : term->args[arg], operands->values[i],
                        &tried) ||
            !assign(matching, term, arg + 1, operands, used | 1u << i, &tried))
            continue;
        *match = tried;
        return true;
    }
    return false;
}

static bool match_operands(const struct matching *matching, const struct md__term *term, int value,
                           struct md__match *match)
{
    bool adds = term->op == MD_OP_ADD, numbered = false;
    struct operands operands = {0};
    collect(matching->rewrite, value, adds, 0, &operands);
    if (operands.many || operands.count + operands.numbered < 2)
        return false;
    for (int i = 0; i < term->arg_count; i++) {
        const struct md__term *arg = &matching->pattern->terms[term->args[i]];
        if (arg->kind != MD_TERM_NUMBER && arg->kind != MD_TERM_CAPTURE)
            continue;
        numbered = true;
        if (!operands.numbered ||
            (arg->kind == MD_TERM_NUMBER && !near(operands.number, arg->number)))
            return false;
        if (arg->kind == MD_TERM_CAPTURE)
            match->numbers[arg->slot] = operands.number;
    }
    if (!numbered && operands.numbered && operands.number != (adds ? 0 : 1))
        return false;
    return assign(matching, term, 0, &operands, 0, match);
}

/* Over the last axis, which stays. */
static bool is_last_mean(const struct md__rewrite *rewrite, const struct md_node *node)
{
    int64_t axis[MD_RANK_MAX];
    const struct md_attr *attr = md_node_attr(node, "axes");
    int rank = md__rw_rank(rewrite, node->in[0]), count = -1;
    if (node->in_count > 1 && node->in[1] != MD_NONE) {
        count = md__rw_ints(rewrite, node->in[1], axis, MD_RANK_MAX);
    } else if (attr && attr->count == 1) {
        axis[0] = attr->ints[0];
        count = 1;
    }
    return rank > 0 && count == 1 && (axis[0] == -1 || axis[0] == rank - 1) &&
           md_node_int(node, "keepdims", 1);
}

static bool has_attrs(const struct md_node *node, const struct md__term *term)
{
    for (int i = 0; i < term->attr_count; i++)
        if (md_node_attr(node, term->attrs[i].name)
                ? !near(md_node_float(node, term->attrs[i].name, 0), term->attrs[i].number)
                : !term->attrs[i].optional)
            return false;
    return true;
}

static bool match_operator(const struct matching *matching, const struct md__term *term, int value,
                           struct md__match *match)
{
    const struct md__rewrite *rewrite = matching->rewrite;
    const struct md_node *node = md__rw_maker(rewrite, value, term->op);
    if (!node || node->out_count != 1 || node->in_count < term->arg_count ||
        !has_attrs(node, term) || (term->last_axis && !is_last_mean(rewrite, node)))
        return false;
    for (int i = term->arg_count; i < node->in_count && !term->last_axis; i++)
        if (node->in[i] != MD_NONE)
            return false;
    if (term->lends)
        match->lender = rewrite->graph->values[value].producer;
    for (int i = 0; i < term->arg_count; i++)
        if (!match_term(matching, term->args[i], node->in[i], match))
            return false;
    return true;
}

static bool match_either(const struct matching *matching, const struct md__term *term, int value,
                         struct md__match *match)
{
    for (int i = 0; i < term->arg_count; i++) {
        struct md__match tried = *match;
        if (match_term(matching, term->args[i], value, &tried)) {
            *match = tried;
            return true;
        }
    }
    return false;
}

/* Reciprocal(p), or Div(1, p) */
static bool match_inverse(const struct matching *matching, const struct md__term *term, int value,
                          struct md__match *match)
{
    const struct md_node *turned = md__rw_maker(matching->rewrite, value, MD_OP_RECIPROCAL);
    const struct md_node *ratio = md__rw_maker(matching->rewrite, value, MD_OP_DIV);
    double number;
    if (ratio && one_number(matching->rewrite, ratio->in[0], &number) && number == 1)
        return match_term(matching, term->args[0], ratio->in[1], match);
    return turned && match_term(matching, term->args[0], turned->in[0], match);
}

static bool match_term(const struct matching *matching, int at, int value, struct md__match *match)
{
    const struct md__term *term = &matching->pattern->terms[at];
    double number;
    if (value == MD_NONE)
        return false;
    switch (term->kind) {
    case MD_TERM_NUMBER:
        return md__rw_number(matching->rewrite, value, &number) && near(number, term->number);
    case MD_TERM_CAPTURE:
        return one_number(matching->rewrite, value, &match->numbers[term->slot]);
    case MD_TERM_CONSTANT:
        if (!md__rw_weights(matching->rewrite, value))
            return false;
        break;
    case MD_TERM_INVERSE:
        return match_inverse(matching, term, value, match);
    case MD_TERM_EITHER:
        return match_either(matching, term, value, match);
    case MD_TERM_OP:
        if (term->op == MD_OP_ADD || term->op == MD_OP_MUL
                ? !match_operands(matching, term, value, match)
                : !match_operator(matching, term, value, match))
            return false;
        break;
    default:
        break;
    }
    if (term->slot == MD_NONE)
        return term->kind == MD_TERM_OP;
    if (match->values[term->slot] == MD_NONE)
        match->values[term->slot] = value;
    return match->values[term->slot] == value;
}

bool md__graph_pattern_match(const struct md__rewrite *rewrite, const struct md__pattern *pattern,
                             int value, struct md__match *match)
{
    const struct matching matching = {rewrite, pattern};
    *match = (struct md__match){.lender = MD_NONE};
    for (int i = 0; i < MD_PATTERN_SLOTS; i++)
        match->values[i] = MD_NONE;
    return match_term(&matching, pattern->root, value, match);
}

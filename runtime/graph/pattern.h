/*
 * Patterns: what a rule looks for and what it puts there, as text.
 *
 *     Mul(x, 0.5, Add(1, Erf(Mul(x, 0.70710678))))    becomes    Gelu(x)
 *
 * A pattern is an operator with its inputs, which are
 *
 *     x            any value; the same word again is the same value
 *     @g           a float32 constant
 *     #a           a constant of one number
 *     2            a constant whose elements all are this number (to 1e-5 of it)
 *     Op(..)       what this operator makes of so many inputs; Op* lends its attributes to the
 * result; alpha=2 among them asks for this attribute, alpha~2 for none or this 1/p          a
 * factor that is divided by; alone: Reciprocal(p), Div(1, p) d:Op(..)     the same, with a name (p
 * | q)      either, the first that fits
 *
 * Add and Mul take any number of operands, in any order and grouping: Subs of numbers count as
 * terms, Divs and Reciprocals as factors 1/p, and all numbers among the operands are one. LastMean
 * is ReduceMean over the last axis, which stays with size 1.
 *
 * A result is one operator, whose inputs are words of the pattern, vector(g, axis): the constant g
 * as a list, if it has all its elements along this axis of x, and ones(axis) or zeros(axis): so
 * many as x has there. Attributes are name='text', name=0.5, name=#a or name=dim(r, axis): a size.
 */
#ifndef MD_GRAPH_PATTERN_H
#define MD_GRAPH_PATTERN_H

#include "graph/rewrite.h"

enum { MD_PATTERN_TERMS = 40, MD_PATTERN_SLOTS = 12, MD_PATTERN_ARGS = 5, MD_PATTERN_ATTRS = 2 };

struct md__term {
    enum {
        MD_TERM_OP,
        MD_TERM_VALUE,
        MD_TERM_CONSTANT,
        MD_TERM_NUMBER,
        MD_TERM_CAPTURE,
        MD_TERM_INVERSE,
        MD_TERM_EITHER
    } kind;
    enum md_op op;
    bool last_axis, lends;
    int slot; /* of what it names, or MD_NONE */
    double number;
    int args[MD_PATTERN_ARGS], arg_count; /* other terms */
    struct {
        char name[12];
        double number;
        bool optional;
    } attrs[MD_PATTERN_ATTRS];
    int attr_count;
};

struct md__pattern {
    struct md__term terms[MD_PATTERN_TERMS];
    char names[MD_PATTERN_SLOTS][12];
    int term_count, slot_count, root;
};

/* What the words stand for in one match. */
struct md__match {
    int values[MD_PATTERN_SLOTS]; /* MD_NONE: not bound */
    double numbers[MD_PATTERN_SLOTS];
    int lender; /* the node that lends its attributes, or MD_NONE */
};

/* MD_ERR_INTERNAL for text that is no pattern. */
enum md_status md__graph_pattern_read(const char *text, struct md__pattern *pattern,
                                      struct md_error *err);

/* Whether the pattern ends at this value. */
bool md__graph_pattern_match(const struct md__rewrite *rewrite, const struct md__pattern *pattern,
                             int value, struct md__match *match);

/*
 * Adds the result for a match. *value is MD_NONE when it cannot be had: a vector that is none, an
 * unknown size.
 */
enum md_status md__graph_pattern_build(struct md__rewrite *rewrite,
                                       const struct md__pattern *pattern,
                                       const struct md__match *match, const char *result,
                                       int *value, struct md_error *err);

#endif

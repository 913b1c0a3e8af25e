/*
 * Passes rewrite a graph before it is planned. Each has a name that
 * md_executable_options.passes_off can switch off, and leaves a graph that computes the same
 * outputs. Lowering can be switched off for single operators too, by their names.
 *
 *     dequantized    for accelerators that lack products of bytes: those of floats
 *     quantized      what stands between quantised values works on bytes
 *     fold           nodes of constants become constants
 *     branch         an If that is decided becomes its branch
 *     identity       what changes nothing goes; what follows from fixed shapes becomes constant
 *     pattern        written-out operators become the operator: GELU, norms, Swish, ...
 *     lookup         products of one-hot rows become lookups
 *     pad            zeros around what a convolution reads become its padding
 *     conv, linear   what follows a convolution or a product goes into it
 *     strides        of what is only read at every other place, only those are computed
 *     resized        a 1 x 1 convolution over resized images works before they are
 *     rotary         x cos + turned x sin becomes RotaryEmbedding
 *     attention      softmax(q k^T) v becomes Attention, however heads were moved about
 *     slice          of what is only read in part, only that part is computed
 *     compose, share, lower       the regions of fused operators (fused.md)
 *     channels_last  runs of convolutions work on tensors with channels last
 *     transpose      transposes sink until they meet and cancel
 *     tail           what follows channels-last operators goes into them
 *     gate           what scales the channels of what a 1 x 1 convolution reads goes into it
 *     pair           a depthwise convolution works on lines of the one before it
 *     chain          elementwise operators that follow each other run tile by tile
 *     concat         what is joined is made where it will lie, what is parted read where it lies
 *     dead           what nobody reads goes
 *     place          what is not worth its copies stays off the accelerator (device_choose.c)
 *
 * A new pass over ONNX operators is a rule for md__rewrite_run (rewrite.h) or a row of
 * pass_pattern.c, a row of passes.c, and a table of small programs that it changes and must not
 * change (tests/lib/programs.h). The models test runs real networks without each pass by itself.
 */
#ifndef MD_GRAPH_PASS_H
#define MD_GRAPH_PASS_H

#include "graph/executable.h"

struct md__facts; /* rewrite.h */

/* What the passes did: counted into every plan's report. */
struct md_pass_report {
    int nodes_folded, nodes_dead;
    int networks_composed;   /* whose fc2 went into their gated linear unit */
    int regions_lowered;     /* replaced by their fused operator */
    int regions_kept;        /* outermost regions that no kernel took */
    int regions_disagreed;   /* kernels that gave other numbers than the body */
    struct md__facts *facts; /* while passes run: what they know of values, made at first need */
};

enum md_status md__pass_dequantized(struct md_graph *graph,
                                    const struct md_executable_options *options,
                                    struct md_pass_report *report, struct md_error *err);
enum md_status md__pass_quantized(struct md_graph *graph,
                                  const struct md_executable_options *options,
                                  struct md_pass_report *report, struct md_error *err);
enum md_status md__pass_fold(struct md_graph *graph, const struct md_executable_options *options,
                             struct md_pass_report *report, struct md_error *err);
enum md_status md__pass_branch(struct md_graph *graph, const struct md_executable_options *options,
                               struct md_pass_report *report, struct md_error *err);
enum md_status md__pass_identity(struct md_graph *graph,
                                 const struct md_executable_options *options,
                                 struct md_pass_report *report, struct md_error *err);
enum md_status md__pass_pattern(struct md_graph *graph, const struct md_executable_options *options,
                                struct md_pass_report *report, struct md_error *err);
enum md_status md__pass_lookup(struct md_graph *graph, const struct md_executable_options *options,
                               struct md_pass_report *report, struct md_error *err);
enum md_status md__pass_pad(struct md_graph *graph, const struct md_executable_options *options,
                            struct md_pass_report *report, struct md_error *err);
enum md_status md__pass_conv(struct md_graph *graph, const struct md_executable_options *options,
                             struct md_pass_report *report, struct md_error *err);
enum md_status md__pass_strides(struct md_graph *graph, const struct md_executable_options *options,
                                struct md_pass_report *report, struct md_error *err);
enum md_status md__pass_gate(struct md_graph *graph, const struct md_executable_options *options,
                             struct md_pass_report *report, struct md_error *err);
enum md_status md__pass_resized(struct md_graph *graph, const struct md_executable_options *options,
                                struct md_pass_report *report, struct md_error *err);
enum md_status md__pass_linear(struct md_graph *graph, const struct md_executable_options *options,
                               struct md_pass_report *report, struct md_error *err);
enum md_status md__pass_rotary(struct md_graph *graph, const struct md_executable_options *options,
                               struct md_pass_report *report, struct md_error *err);
enum md_status md__pass_attention(struct md_graph *graph,
                                  const struct md_executable_options *options,
                                  struct md_pass_report *report, struct md_error *err);
enum md_status md__pass_slice(struct md_graph *graph, const struct md_executable_options *options,
                              struct md_pass_report *report, struct md_error *err);
enum md_status md__pass_transpose(struct md_graph *graph,
                                  const struct md_executable_options *options,
                                  struct md_pass_report *report, struct md_error *err);
enum md_status md__pass_compose(struct md_graph *graph, const struct md_executable_options *options,
                                struct md_pass_report *report, struct md_error *err);
enum md_status md__pass_share(struct md_graph *graph, const struct md_executable_options *options,
                              struct md_pass_report *report, struct md_error *err);
enum md_status md__pass_lower(struct md_graph *graph, const struct md_executable_options *options,
                              struct md_pass_report *report, struct md_error *err);
enum md_status md__pass_channels_last(struct md_graph *graph,
                                      const struct md_executable_options *options,
                                      struct md_pass_report *report, struct md_error *err);
enum md_status md__pass_tail(struct md_graph *graph, const struct md_executable_options *options,
                             struct md_pass_report *report, struct md_error *err);
enum md_status md__pass_chain(struct md_graph *graph, const struct md_executable_options *options,
                              struct md_pass_report *report, struct md_error *err);
enum md_status md__pass_concat(struct md_graph *graph, const struct md_executable_options *options,
                               struct md_pass_report *report, struct md_error *err);
enum md_status md__pass_pair(struct md_graph *graph, const struct md_executable_options *options,
                             struct md_pass_report *report, struct md_error *err);
enum md_status md__pass_dead(struct md_graph *graph, const struct md_executable_options *options,
                             struct md_pass_report *report, struct md_error *err);

/* Whether the comma-separated list names it, or is "all". */
bool md__is_listed(const char *list, const char *name);

/*
 * There is an accelerator, and it has no kernel for this fused operator, but for what it is made of
 * (as far as is known): written out it runs there, as a whole the CPU would have to do it.
 */
bool md__device_lacks(const struct md_executable_options *options, enum md_op op);

/* Runs the table of passes in order. An unknown name in passes_off is MD_ERR_INVALID. */
enum md_status md__passes_run(struct md_graph *graph, const struct md_executable_options *options,
                              struct md_pass_report *report, struct md_error *err);

/* Drops the nodes whose keep[i] is false; renumbers producers and the nodes' ranges of regions. */
enum md_status md__graph_compact(struct md_graph *graph, const bool *keep, struct md_error *err);

#endif

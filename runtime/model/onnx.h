/*
 * ONNX files (https://onnx.ai): opset 1 to 28, IR version 1 to 14, control flow, model-local
 * functions, external data.
 *
 * The graph that comes out carries the semantics of the newest opset: older forms are rewritten
 * while reading (onnx_opset.c). Functions are expanded where they are called. Initialisers are
 * constants, also those that the file lists among its inputs: they cannot be overridden. Weights
 * stay in the mapped file where their alignment allows. External data must lie in the folder of the
 * file, or below; links that lead out of it are refused.
 *
 * Nodes may come in any order that has no cycle. Names of dimensions become symbols; a dimension
 * without a size or name gets a symbol of its own, "<input>_dim<k>"; an input without a shape has
 * MD_RANK_UNKNOWN.
 *
 * MD_ERR_CORRUPT: the file breaks the format. MD_ERR_TOO_LARGE: it asks for more nodes, nesting or
 * memory than we give. MD_ERR_UNSUPPORTED names the operator, attribute, type or version that we
 * do not have.
 */
#ifndef MD_MODEL_ONNX_H
#define MD_MODEL_ONNX_H

#include "graph/graph.h"

/* *graph is the caller's; NULL after a failure. */
enum md_status md_onnx_read(const char *path, struct md_graph **graph, struct md_error *err);
/* The same of bytes in memory, which are not needed afterwards. External data are refused. */
enum md_status md_onnx_parse(const void *bytes, size_t length, struct md_graph **graph,
                             struct md_error *err);

#endif

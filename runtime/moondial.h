/*
 * Moondial as a library: read a model, run it, from C.
 *
 *     #include "moondial.h"
 *
 *     static enum md_status forecast(const char *folder, struct md_error *err)
 *     {
 *         struct md_serve_options options = {.clock = md_clock_system(), .threads = 2,
 *                                            .backend = md_cpu_backend(MD_ISA_BEST),
 *                                            .reference = md_cpu_reference()};
 *         struct md_model_builder builder = {0};
 *         struct md_serve *serve = NULL;
 *         struct md_model *model = NULL;
 *         struct md_call *call = NULL;
 *         struct md_port_tensor inputs[1] = {{.name = "x"}};
 *         enum md_status status = md_serve_new(&options, &serve, err);
 *
 *         if (status == MD_OK)
 *             status = md_script_builder_new("lua", md_clock_system(), &builder, err);
 *         if (status == MD_OK) {
 *             md_serve_set_builder(serve, &builder);
 *             status = md_serve_load(serve, "demo", folder, NULL, err);
 *         }
 *         if (status == MD_OK)
 *             status = md_serve_model(serve, "demo", &model, err);
 *         if (status == MD_OK)
 *             status = md_npy_read("x.npy", &inputs[0].tensor, err);
 *         if (status == MD_OK)
 *             status = md_serve_submit(serve, model, inputs, 1, 0, &call, err);
 *         if (status == MD_OK)
 *             status = md_call_wait(call, -1, err);
 *         if (status == MD_OK)
 *             status = md_npy_write("y.npy", md_call_output(call, 0), err);
 *         md_call_unref(call);
 *         md_tensor_unref(&inputs[0].tensor);
 *         md_model_unref(model);
 *         md_serve_delete(serve);
 *         md_script_builder_delete(&builder);
 *         return status;
 *     }
 *
 * Link with build/release/libmoondial_runtime.a and what CMakeLists.txt lists behind it.
 *
 * Errors. Whatever can fail returns an enum md_status and takes a struct md_error last, which
 * receives one line of text; NULL is fine. Output arguments are set on success only. Nothing
 * aborts on bad input.
 *
 * Ownership. `new` and `read` hand out what `delete`, `unref` or `fini` takes back; those accept
 * NULL or a zeroed struct. Models, tensors' memory and blobs are shared by counting references,
 * from any thread; what is shared is not changed any more.
 *
 * Threads. A struct md_serve and everything it hands out may be used from any thread. An
 * executable, a graph under construction, an arena and a buffer belong to one thread at a time.
 * A pool runs one loop at a time and is lent, never shared. Clocks and backends are constant.
 * Functions that block say so.
 *
 * This header is the part of the runtime that is meant to be used from outside; names that begin
 * with md__ are not.
 */
#ifndef MOONDIAL_H
#define MOONDIAL_H

#include "base/buffer.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/metrics.h"
#include "base/pool.h"
#include "base/status.h"
#include "graph/executable.h"
#include "graph/graph.h"
#include "kernels/cpu/cpu.h"
#include "model/safetensors.h"
#include "script/builder.h"
#include "serve/serve.h"
#include "tensor/npy.h"
#include "tensor/tensor.h"

#endif

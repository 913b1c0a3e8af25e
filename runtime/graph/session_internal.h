/* What a session holds, and what runs do with it. */
#ifndef MD_GRAPH_SESSION_INTERNAL_H
#define MD_GRAPH_SESSION_INTERNAL_H

#include "graph/executable_internal.h"
#include "graph/session.h"

struct md__device;

/* Of the device's pool. */
struct md__session_block {
    void *data;
    size_t bytes;
};

/* Contents of one handover. */
struct md__held {
    struct md_tensor tensor; /* dtype 0: none yet; data: on the host, of our own reference */
    bool there;              /* it is in `now`, not in tensor.data */
    enum md_dtype storage;   /* of its elements in `now` */
    struct md__session_block now, next;
    bool lent;  /* in the run at hand: the input is ours */
    bool taken; /* likewise: the output goes to `next` */
};

struct md_session {
    struct md_executable *executable;
    struct md_tensor *inputs; /* of the run at hand, those that are ours filled in */
    int count;
    struct md__held held[];
};

/* ---- session.c ---- */

/* Copies the caller's handovers to the executable. MD_ERR_INVALID: what is wrong with them. */
enum md_status md__session_check(struct md_executable *executable,
                                 const struct md_executable_options *given, struct md_error *err);
/* The handover with this input or output; MD_NONE. */
int md__session_input(const struct md_executable_options *options, int input);
int md__session_output(const struct md_executable_options *options, int output);

/* Before a run: session->inputs are the caller's and the session's. */
enum md_status md__session_begin(struct md_session *session, struct md_executable *executable,
                                 const struct md_tensor *inputs, int input_count,
                                 struct md_error *err);
/* Before the first plan: of a run on the device that hands over there (`stays`), or of any other,
 * after one that failed as well. */
void md__session_retry(struct md_session *session, bool stays);
/* Before a plan runs: what its host steps read is on the host, `next` is there for what it hands
 * over on the device. */
enum md_status md__session_settle(struct md_session *session, const struct md_plan *plan,
                                  struct md_error *err);
/* After a run that ended with `status`. */
void md__session_end(struct md_session *session, enum md_status status, struct md_tensor *outputs);
/* The input's contents are on the device, and nowhere else. */
bool md__session_lends(const struct md_session *session, int input);
/* The output stays on the device. */
bool md__session_takes(const struct md_session *session, int output);

/* ---- device_session.c ---- */

/* Room for what the plan hands over, as far as the pool has it. */
void md__device_session_reserve(struct md_session *session, const struct md_plan *plan);
/* From device memory to the host. */
enum md_status md__device_session_fetch(struct md_session *session, int k, struct md_error *err);
void md__device_session_fini(struct md_session *session);
/* Handovers of a run that is over, for the report. */
void md__device_session_count(const struct md__device *device, int stayed, int travelled);

#endif

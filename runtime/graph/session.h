/*
 * Sessions: what the runs of one caller hand on to its next ones, such as the keys and values of
 * generation, a recurrent state, or a window that the model itself rolls. Which output becomes
 * which input is said when the executable is made (md_executable_options.handovers); each session
 * has contents of its own.
 *
 * In a run with a session, an input that is handed over may be left out (a tensor of zeros): it is
 * what the last run of that session made. One that is given counts, so that a session begins with
 * what its first run is given, and begins anew the same way. Outputs that are handed over come back
 * as dtype and shape without data: they stay where they were made. That is device memory when the
 * device made them, from a pool with a limit (session_bytes_max), and no copy travels; where the
 * pool is full, an allocation fails, or the CPU did the run, it is the host's, and they travel as
 * any input does. Device contents are as precise as the device stores float32.
 *
 * A run that fails leaves the session as it was. A session whose contents were in the memory of a
 * device that is lost, or that does not give them back, has none any more: the run says so
 * (MD_ERR_UNAVAILABLE) and the next one must give these inputs.
 *
 * One thread at a time, as with the executable, which must outlive its sessions.
 */
#ifndef MD_GRAPH_SESSION_H
#define MD_GRAPH_SESSION_H

#include "base/status.h"

#include <stddef.h>

struct md_executable;
struct md_session;

#define MD_HANDOVERS_MAX 256

/* Numbers of an output and of the input that it is in the next run; same dtype. */
struct md_handover {
    int output, input;
};

enum md_status md_session_new(struct md_executable *executable, struct md_session **session,
                              struct md_error *err);
void md_session_delete(struct md_session *session); /* NULL is fine */

/* Bytes of what it holds, by where that is. */
struct md_session_report {
    size_t host_bytes, device_bytes;
};
void md_session_report(const struct md_session *session, struct md_session_report *report);

#endif

/*
 * A device whose kernels are the reference's: memory, streams and captures of the host driver, each
 * operator computed in float32 by the CPU's reference kernel and rounded to its storage dtype. With
 * it, what is above a driver runs any model. And a driver that fails when it is told to.
 */
#ifndef MD_TESTS_REFERENCE_DEVICE_H
#define MD_TESTS_REFERENCE_DEVICE_H

#include "graph/accelerator.h"

/*
 * A driver that has the operators of the comma list `ops` but refuses those in `lacks`; NULL: all
 * that are no control flow; none. Valid until the next call.
 */
const struct md_device_driver *reference_device(const char *ops, const char *lacks);

/* As many bytes as its devices tell they have, and give. Default: all that there are. */
void reference_device_set_bytes(size_t bytes);

/* As fast as it tells it is, from when it is opened. Default: it takes no time. */
void reference_device_set_speed(const struct md_device_speed *speed);

/* What its open device still holds; 0 when everything was given back. */
int reference_device_alive(void);

/*
 * Call number n (from 0) that can fail fails with this status; `sticky`: so does every later one,
 * and the device is lost. Launches of kernels count. n < 0: none fails. Calls count from here on.
 */
void reference_device_fail(int n, enum md_status status, bool sticky);
int reference_device_calls(void);

#endif

/*
 * A driver in front of another one: call n fails as told, and what is made and not given back is
 * counted. So every way in which a device may fail can be walked through, on any driver: the
 * host's, the emulated kernels', or a GPU's own.
 */
#ifndef MD_TESTS_FAILING_DRIVER_H
#define MD_TESTS_FAILING_DRIVER_H

#include "graph/device.h"

/* Valid until the next call; `inner` must outlive it. One device of it is open at a time. */
const struct md_device_driver *failing_driver(const struct md_device_driver *inner);

/*
 * Call number n (from 0) that can fail fails with this status; `sticky`: so does every later one,
 * and the device is lost. Launches of kernels count. n < 0: none fails. Calls count from here on.
 */
void failing_driver_at(int n, enum md_status status, bool sticky);
int failing_driver_calls(void);

/*
 * once(0), once(1), ... with the call of that number failing, until it says that there was none so
 * late; `end` follows each. There must be more than 40 calls. Serves every driver that counts
 * calls.
 */
void failing_driver_walk(bool (*once)(int n, enum md_status status, bool sticky),
                         int (*end)(void **state), enum md_status status, bool sticky);

/* Blocks of memory, streams, events and captures that were made and not given back. */
int failing_driver_alive(void);

#endif

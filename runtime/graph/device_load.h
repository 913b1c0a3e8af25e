/*
 * Drivers in shared objects: found by path, loaded once and for the life of the process, because
 * accelerators point into them.
 */
#ifndef MD_GRAPH_DEVICE_LOAD_H
#define MD_GRAPH_DEVICE_LOAD_H

#include "graph/device.h"

/*
 * The driver of the first file in `paths` (up to a NULL) that exists. MD_ERR_NOT_FOUND: none does.
 * MD_ERR_UNSUPPORTED: it is no driver, or of another version of this program, or lacks a library.
 */
enum md_status md_device_load(const char *const *paths, const struct md_device_driver **driver,
                              struct md_error *err);

#endif

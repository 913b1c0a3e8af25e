/* What inspect.c gathers and inspect_print.c prints. */
#ifndef MD_CLI_INSPECT_H
#define MD_CLI_INSPECT_H

#include <jansson.h>

/*
 * Steps by what runs them: the backend's own kernels, the plain ones that it falls back on, the
 * executable itself, the accelerator; and copies to and from that.
 */
enum md__place {
    MD__PLACE_KERNELS,
    MD__PLACE_REFERENCE,
    MD__PLACE_CONTROL,
    MD__PLACE_DEVICE,
    MD__PLACE_COPIES,
    MD__PLACES
};
extern const char *const md__place_names[MD__PLACES];

void md__inspect_print(const json_t *report);

#endif

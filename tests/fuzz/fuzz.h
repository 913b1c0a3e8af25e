/* What every fuzz target defines: one input, which must neither crash, leak nor hang. Returns 0. */
#ifndef MD_TESTS_FUZZ_H
#define MD_TESTS_FUZZ_H

#undef NDEBUG
#include <assert.h>
#include <stddef.h>
#include <stdint.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#endif

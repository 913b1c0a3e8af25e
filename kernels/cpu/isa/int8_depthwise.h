/* What the two ways of a depthwise convolution of bytes share: neighbouring places of a line. */
#ifndef MD_KERNELS_CPU_ISA_INT8_DEPTHWISE_H
#define MD_KERNELS_CPU_ISA_INT8_DEPTHWISE_H

#include "kernels/cpu/isa/int8_conv.h"

struct byte_places {
    const struct byte_conv_run *run;
    const uint8_t *const *at; /* of each tap and three more: the first place's pixel */
    size_t count, x_step;     /* places; bytes from one to the next */
    size_t y;                 /* element of the first result */
};

#define byte_taps_bytes MD_ISA_SYMBOL(md__byte_taps_bytes)
#define byte_taps_pack  MD_ISA_SYMBOL(md__byte_taps_pack)
#define byte_taps_sum   MD_ISA_SYMBOL(md__byte_taps_sum)

/* Four taps at a time: int8_taps.c. Of weights whose zero point is none. */
size_t byte_taps_bytes(const struct byte_conv *conv);
void byte_taps_pack(const struct byte_conv *conv, const struct byte_source *source, void *to);
/* False: not here. Results are bytes. */
bool byte_taps_sum(const struct byte_places *places, const void *packed);

#endif

/*
 * The two 16-bit float formats and conversions between them and float32. IEEE binary16 has 5
 * exponent and 10 fraction bits, bfloat16 has float32's 8 and 7. Narrowing rounds to nearest, ties
 * to even, overflows to infinity and keeps a NaN a NaN (made quiet, its upper payload kept). Bits
 * move through memcpy, which compiles to a register move.
 */
#include <string.h>

#include "tensor/tensor.h"

enum {
    F32_FRACTION_BITS = 23,
    F16_FRACTION_BITS = 10,
    BIAS_DIFFERENCE = 127 - 15,
    FRACTION_DIFFERENCE = F32_FRACTION_BITS - F16_FRACTION_BITS,
};

#define F32_INFINITY 0x7F800000u
#define F16_INFINITY 0x7C00u
#define F16_OVERFLOW                                                                               \
    0x477FF000u /* 65520, halfway from the largest binary16 to 65536: rounds to infinity */
#define F16_SMALLEST_NORMAL 0x38800000u /* 2^-14 */

static uint32_t bits_of(float value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}

static float float_of(uint32_t bits)
{
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

float md_f16_to_f32(uint16_t bits)
{
    uint32_t sign = (uint32_t)(bits & 0x8000u) << 16;
    uint32_t rest = (uint32_t)(bits & 0x7FFFu) << FRACTION_DIFFERENCE;
    if ((bits & F16_INFINITY) == F16_INFINITY)
        return float_of(sign | F32_INFINITY | rest);
    if ((bits & F16_INFINITY) == 0) /* zero or subnormal: fraction * 2^-24, exact in float32 */
        return float_of(sign | bits_of((float)(bits & 0x3FFu) * 0x1p-24f));
    return float_of(sign | (rest + ((uint32_t)BIAS_DIFFERENCE << F32_FRACTION_BITS)));
}

uint16_t md_f32_to_f16(float value)
{
    uint32_t bits = bits_of(value);
    uint16_t sign = (uint16_t)(bits >> 16 & 0x8000u);
    bits &= 0x7FFFFFFFu;
    if (bits > F32_INFINITY)
        return (uint16_t)(sign | F16_INFINITY | 0x200u | (bits >> FRACTION_DIFFERENCE & 0x1FFu));
    if (bits >= F16_OVERFLOW)
        return (uint16_t)(sign | F16_INFINITY);
    if (bits < F16_SMALLEST_NORMAL) {
        /*
         * Adding 0.5 aligns the value to binary16's subnormal spacing of 2^-24, and the addition
         * rounds it.
         */
        uint32_t aligned = bits_of(float_of(bits) + 0.5f);
        return (uint16_t)(sign | (aligned - bits_of(0.5f)));
    }
    uint32_t odd = bits >> FRACTION_DIFFERENCE & 1;
    bits += (1u << (FRACTION_DIFFERENCE - 1)) - 1 + odd;
    bits -= (uint32_t)BIAS_DIFFERENCE << F32_FRACTION_BITS;
    return (uint16_t)(sign | bits >> FRACTION_DIFFERENCE);
}

float md_bf16_to_f32(uint16_t bits)
{
    return float_of((uint32_t)bits << 16);
}

uint16_t md_f32_to_bf16(float value)
{
    uint32_t bits = bits_of(value);
    if ((bits & 0x7FFFFFFFu) > F32_INFINITY)
        return (uint16_t)(bits >> 16 | 0x40u);
    return (uint16_t)((bits + 0x7FFFu + (bits >> 16 & 1)) >> 16);
}

static void widen(const struct md_tensor *from, float *to, size_t count)
{
    const uint16_t *bits = from->data;
    if (from->dtype == MD_F16)
        for (size_t i = 0; i < count; i++)
            to[i] = md_f16_to_f32(bits[i]);
    else
        for (size_t i = 0; i < count; i++)
            to[i] = md_bf16_to_f32(bits[i]);
}

static void narrow(const float *from, uint16_t *to, size_t count, enum md_dtype dtype)
{
    if (dtype == MD_F16)
        for (size_t i = 0; i < count; i++)
            to[i] = md_f32_to_f16(from[i]);
    else
        for (size_t i = 0; i < count; i++)
            to[i] = md_f32_to_bf16(from[i]);
}

static bool is_half(enum md_dtype dtype)
{
    return dtype == MD_F16 || dtype == MD_BF16;
}

enum md_status md_tensor_convert(const struct md_tensor *tensor, enum md_dtype dtype,
                                 struct md_tensor *converted, struct md_error *err)
{
    if (tensor->dtype == dtype) {
        *converted = md_tensor_ref(tensor);
        return MD_OK;
    }
    bool widens = is_half(tensor->dtype) && dtype == MD_F32;
    bool narrows = tensor->dtype == MD_F32 && is_half(dtype);
    if (!widens && !narrows)
        return md_fail(err, MD_ERR_INVALID, "no conversion from %s to %s",
                       md_dtype_name(tensor->dtype), md_dtype_name(dtype));
    struct md_tensor result;
    enum md_status status = md_tensor_new(dtype, &tensor->shape, &result, err);
    if (status)
        return status;
    size_t count = md_tensor_count(tensor);
    if (widens)
        widen(tensor, result.data, count);
    else
        narrow(tensor->data, result.data, count, dtype);
    *converted = result;
    return MD_OK;
}

/*
 * The elementwise functions, in float32: what stands alone in elementwise.cu and ends products,
 * convolutions and norms elsewhere. Formulas are those of kernels/cpu/ref_unary.c, arranged so that
 * nothing overflows on the way to a finite result; a NaN stays one.
 */
#ifndef MD_KERNELS_CUDA_FUNCTIONS_CUH
#define MD_KERNELS_CUDA_FUNCTIONS_CUH

#include "kernels/cuda/device.cuh"

MD__DEVICE float md__sigmoid(float x)
{
    float e = expf(-fabsf(x));
    return (x < 0 ? e : 1.0f) / (1.0f + e);
}

MD__DEVICE float md__softplus(float x)
{
    return (x > 0 ? x : 0.0f) + log1pf(expf(-fabsf(x)));
}

MD__DEVICE float md__clamped(float x, float low, float high)
{
    x = x < low ? low : x;
    return x > high ? high : x;
}

MD__DEVICE float md__gelu_tanh(float x)
{
    return 0.5f * x * (1.0f + tanhf(0.797884561f * (x + 0.044715f * x * x * x)));
}

MD__DEVICE float md__shrunk(float x, float bias, float threshold)
{
    return x < -threshold ? x + bias : x > threshold ? x - bias : 0.0f;
}

/* x = inf would give inf - inf on the way through log1p. */
MD__DEVICE float md__mish(float x)
{
    return x * tanhf(md__softplus(x));
}

/* Those that end nothing else. */
__device__ static inline float md__function_alone(enum md__cuda_function function, float x)
{
    switch (function) {
    case MD__CUDA_ABS:
        return fabsf(x);
    case MD__CUDA_ACOS:
        return acosf(x);
    case MD__CUDA_ACOSH:
        return acoshf(x);
    case MD__CUDA_ASIN:
        return asinf(x);
    case MD__CUDA_ASINH:
        return asinhf(x);
    case MD__CUDA_ATAN:
        return atanf(x);
    case MD__CUDA_ATANH:
        return atanhf(x);
    case MD__CUDA_CEIL:
        return ceilf(x);
    case MD__CUDA_COS:
        return cosf(x);
    case MD__CUDA_COSH:
        return coshf(x);
    case MD__CUDA_ERF:
        return erff(x);
    case MD__CUDA_FLOOR:
        return floorf(x);
    case MD__CUDA_LOG:
        return logf(x);
    case MD__CUDA_NEG:
        return -x;
    case MD__CUDA_RECIPROCAL:
        return 1.0f / x;
    case MD__CUDA_ROUND:
        return rintf(x);
    case MD__CUDA_SIGN:
        return x > 0 ? 1.0f : x < 0 ? -1.0f : x;
    case MD__CUDA_SIN:
        return sinf(x);
    case MD__CUDA_SINH:
        return sinhf(x);
    case MD__CUDA_SQRT:
        return sqrtf(x);
    case MD__CUDA_TAN:
        return tanf(x);
    default:
        return x;
    }
}

/* One switch for all: the branch is the same for a whole launch. */
__device__ static inline float md__function(enum md__cuda_function function, float x, float a,
                                            float b)
{
    switch (function) {
    case MD__CUDA_IDENTITY:
        return x;
    case MD__CUDA_CELU:
        return x < 0 ? a * expm1f(x / a) : x;
    case MD__CUDA_ELU:
        return x < 0 ? a * expm1f(x) : x;
    case MD__CUDA_EXP:
        return expf(x);
    case MD__CUDA_GELU:
        return 0.5f * x * erfcf(-x * 0.707106781f);
    case MD__CUDA_GELU_TANH:
        return md__gelu_tanh(x);
    case MD__CUDA_HARD_SIGMOID:
        return md__clamped(a * x + b, 0.0f, 1.0f);
    case MD__CUDA_HARD_SWISH:
        return x * md__clamped(x / 6.0f + 0.5f, 0.0f, 1.0f);
    case MD__CUDA_LEAKY_RELU:
        return x < 0 ? a * x : x;
    case MD__CUDA_MISH:
        return md__mish(x);
    case MD__CUDA_RELU:
        return x < 0 ? 0.0f : x;
    case MD__CUDA_SELU:
        return b * (x > 0 || x != x ? x : a * expm1f(x));
    case MD__CUDA_SHRINK:
        return md__shrunk(x, a, b);
    case MD__CUDA_SIGMOID:
        return md__sigmoid(x);
    case MD__CUDA_SOFTPLUS:
        return md__softplus(x);
    case MD__CUDA_SOFTSIGN:
        return x / (1.0f + fabsf(x));
    case MD__CUDA_SWISH:
        return x * md__sigmoid(a * x);
    case MD__CUDA_TANH:
        return tanhf(x);
    case MD__CUDA_THRESHOLDED_RELU:
        return x > a ? x : 0.0f;
    case MD__CUDA_CLIP:
        return md__clamped(x, a, b);
    default:
        return md__function_alone(function, x);
    }
}

#endif

/* .npy images: a tensor that is handed out lies within the bytes, or is a copy of its own. */
#include "tensor/npy.h"
#include "fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct md_tensor tensor;
    struct md_error err;
    if (md_npy_parse(data, size, &tensor, &err) != MD_OK) {
        assert(err.code != MD_OK && err.code != MD_ERR_INTERNAL);
        return 0;
    }
    const uint8_t *begin = tensor.data, *end = begin + md_tensor_bytes(&tensor);
    assert(tensor.owner || (begin >= data && end <= data + size));
    volatile uint8_t sum = 0;
    for (const uint8_t *p = begin; p < end; p++)
        sum = (uint8_t)(sum + *p);
    md_tensor_unref(&tensor);
    return 0;
}

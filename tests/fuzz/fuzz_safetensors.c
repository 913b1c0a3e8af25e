/* safetensors images: every tensor that is handed out lies within the bytes and is readable. */
#include "model/safetensors.h"
#include "fuzz.h"

static void read_all(const struct md_tensor *tensor, const uint8_t *data, size_t size)
{
    const uint8_t *begin = tensor->data, *end = begin + md_tensor_bytes(tensor);
    assert(tensor->owner || (begin >= data && end <= data + size));
    volatile uint8_t sum = 0;
    for (const uint8_t *p = begin; p < end; p++)
        sum = (uint8_t)(sum + *p);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct md_safetensors *file = NULL;
    struct md_error err;
    if (md_safetensors_parse(data, size, &file, &err) != MD_OK) {
        assert(err.code != MD_OK && err.code != MD_ERR_INTERNAL && err.text[0]);
        return 0;
    }
    for (size_t i = 0; i < md_safetensors_count(file); i++) {
        struct md_tensor tensor;
        assert(md_safetensors_get(file, md_safetensors_name(file, i), &tensor, &err) == MD_OK);
        read_all(&tensor, data, size);
        md_tensor_unref(&tensor);
    }
    md_safetensors_close(file);
    return 0;
}

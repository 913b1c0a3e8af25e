/* JSON from outside is refused with a reason, or is a value that can be written and read again. */
#include <stdlib.h>
#include <string.h>

#include "base/json_in.h"
#include "fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    json_t *root = NULL, *again = NULL;
    struct md_error err;
    if (md_json_parse((const char *)data, size, &root, &err) != MD_OK) {
        assert(root == NULL && err.code == MD_ERR_INVALID && err.text[0]);
        return 0;
    }
    char *text = json_dumps(root, JSON_ENCODE_ANY | JSON_COMPACT);
    assert(text);
    assert(md_json_parse(text, strlen(text), &again, &err) == MD_OK);
    json_decref(again);
    json_decref(root);
    free(text);
    return 0;
}

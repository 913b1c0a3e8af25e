/* Timestamps: what is accepted can be written, and what we write reads back as the same moment. */
#include <stdlib.h>
#include <string.h>

#include "base/timestamp.h"
#include "fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *text = malloc(size + 1), written[MD_TIMESTAMP_BYTES];
    int64_t moment = 0, again = 0;
    struct md_error err;
    assert(text);
    if (size)
        memcpy(text, data, size);
    text[size] = '\0';
    if (md_timestamp_parse(text, NULL, &moment, &err) == MD_OK) {
        md_timestamp_format(moment, written);
        assert(md_timestamp_parse(written, NULL, &again, &err) == MD_OK);
        /* An offset may push the first or last day over the edge of the four-digit years. */
        assert(again == moment || strncmp(text, "0000", 4) == 0 || strncmp(text, "9999", 4) == 0);
    } else {
        assert(err.code == MD_ERR_INVALID);
    }
    free(text);
    return 0;
}

/*
 * Requests as bytes: what is parsed stays inside the head, its strings end there, and a chunked
 * body decodes to the same however it is cut into pieces.
 */
#include <stdlib.h>
#include <string.h>

#include "fuzz.h"
#include "http/parse.h"

static bool is_inside(const char *string, const char *begin, size_t length)
{
    return string >= begin && string < begin + length &&
           memchr(string, '\0', (size_t)(begin + length - string)) != NULL;
}

static void check_head(char *text, size_t length)
{
    static struct md__head head;
    struct md_error err;
    size_t scanned = 0;
    long end = md__head_end(text, length, &scanned);

    if (end <= 0 || md__head_parse(text, (size_t)end, &head, &err) != 0) {
        return;
    }
    assert(is_inside(head.method, text, (size_t)end));
    assert(is_inside(head.path, text, (size_t)end) || strcmp(head.path, "/") == 0);
    assert(head.query == NULL || is_inside(head.query, text, (size_t)end));
    for (int i = 0; i < head.header_count; i++) {
        assert(is_inside(head.headers[i].name, text, (size_t)end));
        assert(is_inside(head.headers[i].value, text, (size_t)end));
    }
}

/* How it ended, with the body. */
static int decode(const char *data, size_t length, size_t piece, struct md_buffer *body)
{
    struct md__chunks chunks = {0};
    size_t at = 0;

    md_buffer_init(body, 0);
    while (at < length && !chunks.done) {
        size_t used, now = length - at < piece ? length - at : piece;
        enum md_status status = md__chunks_feed(&chunks, data + at, now, &used, body, 1000, NULL);
        if (status != MD_OK) {
            return (int)status;
        }
        assert(used == now || chunks.done);
        at += used;
    }
    return chunks.done ? -(int)at - 1 : 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *text = malloc(size + 1);
    struct md_buffer whole, cut;

    if (text == NULL || size == 0) {
        free(text);
        return 0;
    }
    memcpy(text, data, size);
    int first = decode(text, size, size, &whole), second = decode(text, size, 3, &cut);
    assert(first == second);
    assert(first > 0 || (whole.length == cut.length &&
                         (whole.length == 0 || memcmp(whole.data, cut.data, whole.length) == 0)));
    md_buffer_fini(&whole);
    md_buffer_fini(&cut);
    check_head(text, size);
    free(text);
    return 0;
}

/*
 * Heads and chunked bodies as bytes: what is accepted, what is refused, and that it makes no
 * difference in how many pieces it comes.
 */
#include <stdio.h>
#include <string.h>

#include "http/parse.h"
#include "unit.h"

static struct md_error err;
static char text[70000];
static struct md__head head;

/* The status of a whole head; -1 when its end is not found, -2 when it can never be one. */
static int parse(const char *request)
{
    size_t scanned = 0;
    long end;

    snprintf(text, sizeof text, "%s", request);
    memset(&head, 0xA5, sizeof head); /* as an earlier request may have left it */
    end = md__head_end(text, strlen(text), &scanned);
    return end == 0 ? -1 : end < 0 ? -2 : md__head_parse(text, (size_t)end, &head, &err);
}

static const char *value_of(const char *name)
{
    for (int i = 0; i < head.header_count; i++) {
        if (strcmp(head.headers[i].name, name) == 0) {
            return head.headers[i].value;
        }
    }
    return NULL;
}

static void test_a_request_is_taken_apart(void **state)
{
    assert_int_equal(parse("PUT /a%20b?x=1&y=? HTTP/1.1\r\nHost: h:80\r\nX-Long-NAME: \t a b \t\r\n"
                           "Empty:\r\nAccept:*/*\r\n\r\nrest"),
                     0);
    assert_string_equal(head.method, "PUT");
    assert_string_equal(head.path, "/a%20b");
    assert_string_equal(head.query, "x=1&y=?");
    assert_int_equal(head.minor, 1);
    assert_true(head.keep_alive);
    assert_int_equal(head.header_count, 4);
    assert_string_equal(value_of("host"), "h:80");
    assert_string_equal(value_of("x-long-name"), "a b");
    assert_string_equal(value_of("empty"), "");
    assert_string_equal(value_of("accept"), "*/*");
}

static void test_targets(void **state)
{
    static const struct {
        const char *target, *path, *query;
    } cases[] = {
        {"/", "/", NULL},
        {"/?", "/", ""},
        {"*", "*", NULL},
        {"http://h/x", "/x", NULL},
        {"HTTPS://h:1/x?q", "/x", "q"},
        {"http://h", "/", NULL},
        {"http://h?q", "/", "q"},
        {"//h/x", "//h/x", NULL},
    };
    char request[200];

    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        snprintf(request, sizeof request, "GET %s HTTP/1.1\r\n\r\n", cases[i].target);
        assert_int_equal(parse(request), 0);
        assert_string_equal(head.path, cases[i].path);
        if (cases[i].query == NULL) {
            assert_null(head.query);
        } else {
            assert_string_equal(head.query, cases[i].query);
        }
    }
}

static void test_keep_alive(void **state)
{
    static const struct {
        const char *request;
        bool keep;
    } cases[] = {
        {"GET / HTTP/1.1\r\n\r\n", true},
        {"GET / HTTP/1.1\r\nConnection: close\r\n\r\n", false},
        {"GET / HTTP/1.1\r\nConnection: x, CLOSE\r\n\r\n", false},
        {"GET / HTTP/1.1\r\nConnection: closed\r\n\r\n", true},
        {"GET / HTTP/1.1\r\nConnection: keep-alive\r\nConnection: close\r\n\r\n", false},
        {"GET / HTTP/1.0\r\n\r\n", false},
        {"GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n", true},
    };

    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        assert_int_equal(parse(cases[i].request), 0);
        assert_int_equal(head.keep_alive, cases[i].keep);
    }
}

static void test_what_is_refused(void **state)
{
    static const struct {
        const char *request;
        int status;
    } cases[] = {
        {"GET /\r\n\r\n", 400},
        {"GET  / HTTP/1.1\r\n\r\n", 400},
        {"GET / HTTP/1.1 \r\n\r\n", 400},
        {"GET /a b HTTP/1.1\r\n\r\n", 400},
        {"GET /#x HTTP/1.1\r\n\r\n", 400},
        {"GET /\x80 HTTP/1.1\r\n\r\n", 400},
        {"GET /\x01 HTTP/1.1\r\n\r\n", 400},
        {"G(T / HTTP/1.1\r\n\r\n", 400},
        {" GET / HTTP/1.1\r\n\r\n", 400},
        {"GET / http/1.1\r\n\r\n", 400},
        {"GET / HTTP/1.10\r\n\r\n", 400},
        {"GET / HTTP/2.0\r\n\r\n", 505},
        {"PRI * HTTP/2.0\r\n\r\n", 505},
        {"GET / HTTP/1.1\r\nA : b\r\n\r\n", 400},
        {"GET / HTTP/1.1\r\n: b\r\n\r\n", 400},
        {"GET / HTTP/1.1\r\nA\r\n\r\n", 400},
        {"GET / HTTP/1.1\r\nA: b\r\n folded\r\n\r\n", 400},
        {"GET / HTTP/1.1\r\n A: b\r\n\r\n", 400},
        {"GET / HTTP/1.1\r\nA: b\rc\r\n\r\n", 400},
        {"GET / HTTP/1.1\r\nA: \x7f\r\n\r\n", 400},
        {"GET / HTTP/1.1\r\nA\xc3: b\r\n\r\n", 400},
        {"GET / HTTP/1.1\nHost: x\n\n", -2},
        {"GET / HTTP/1.1\r\nHost: x\n\r\n", -2},
        {"GET / HTTP/1.1\r\nHost: x\r\n", -1},
    };

    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        assert_int_equal(parse(cases[i].request), cases[i].status);
    }
}

static void test_nul_is_refused_everywhere(void **state)
{
    static const char request[] = "GET /abc?d HTTP/1.1\r\nName: value\r\n\r\n";

    for (size_t i = 0; i < sizeof request - 5; i++) {
        size_t scanned = 0;
        long end;
        memcpy(text, request, sizeof request);
        text[i] = '\0';
        end = md__head_end(text, sizeof request - 1, &scanned);
        if (end > 0) {
            assert_int_equal(md__head_parse(text, (size_t)end, &head, &err), 400);
        } else {
            assert_true(request[i] == '\r' || request[i] == '\n');
        }
    }
}

static void test_number_of_fields(void **state)
{
    for (int count = 63; count <= 65; count++) {
        size_t at = (size_t)sprintf(text, "GET / HTTP/1.1\r\n");
        for (int i = 0; i < count; i++) {
            at += (size_t)sprintf(text + at, "X%d: 1\r\n", i);
        }
        at += (size_t)sprintf(text + at, "\r\n");
        assert_int_equal(md__head_parse(text, at, &head, &err), count <= 64 ? 0 : 431);
    }
}

static void test_the_end_is_found_in_any_pieces(void **state)
{
    static const char request[] = "GET / HTTP/1.1\r\nA: b\r\n\r\nGET";
    size_t scanned = 0;

    for (size_t length = 0; length < sizeof request - 4; length++) {
        assert_int_equal(md__head_end(request, length, &scanned), 0);
    }
    assert_int_equal(md__head_end(request, sizeof request - 1, &scanned), sizeof request - 4);
}

/* ---- chunked bodies ---- */

/* The body in pieces of `piece` bytes: its text, or the name of the refusal; *rest is what is
 * behind it. */
static const char *decode(const char *data, size_t piece, size_t bytes_max, const char **rest)
{
    static char out[300];
    struct md__chunks chunks = {0};
    struct md_buffer body;
    size_t length = strlen(data), at = 0;
    enum md_status status = MD_OK;

    md_buffer_init(&body, 0);
    while (at < length && !chunks.done && status == MD_OK) {
        size_t used, now = length - at < piece ? length - at : piece;
        status = md__chunks_feed(&chunks, data + at, now, &used, &body, bytes_max, &err);
        at += status == MD_OK ? used : 0;
    }
    snprintf(out, sizeof out, "%s",
             status != MD_OK ? md_status_name(status)
             : !chunks.done  ? "unfinished"
             : body.length   ? body.data
                             : "");
    md_buffer_fini(&body);
    *rest = data + at;
    return out;
}

static void test_chunks(void **state)
{
    static const struct {
        const char *data, *body, *rest;
    } cases[] = {
        {"0\r\n\r\nGET", "", "GET"},
        {"5\r\nhello\r\n1\r\n \r\n5\r\nworld\r\n0\r\n\r\n", "hello world", ""},
        {"A;x=\"y\"\r\n0123456789\r\n0;last\r\nTrailer: 1\r\nMore: 2\r\n\r\nx", "0123456789", "x"},
        {"00005\r\nhello\r\n000\r\n\r\n", "hello", ""},
        {"5\r\nhello\r\n", "unfinished", ""},
        {"5\r\nhel", "unfinished", ""},
        {"\r\n", "INVALID_ARGUMENT", NULL},
        {";x\r\n", "INVALID_ARGUMENT", NULL},
        {"0x5\r\nhello\r\n", "INVALID_ARGUMENT", NULL},
        {"-5\r\nhello\r\n", "INVALID_ARGUMENT", NULL},
        {"5 \r\nhello\r\n", "INVALID_ARGUMENT", NULL},
        {" 5\r\nhello\r\n", "INVALID_ARGUMENT", NULL},
        {"5\nhello\r\n", "INVALID_ARGUMENT", NULL},
        {"5\r\nhello\n0\r\n\r\n", "INVALID_ARGUMENT", NULL},
        {"5\r\nhello!\r\n", "INVALID_ARGUMENT", NULL},
        {"5\r\nhello\r\n0\r\n folded\r\n\r\n", "INVALID_ARGUMENT", NULL},
        {"5\r\nhello\r\n0\r\n\n", "INVALID_ARGUMENT", NULL},
        {"5;\x01\r\nhello\r\n", "INVALID_ARGUMENT", NULL},
        {"1000000000000000\r\n", "INVALID_ARGUMENT", NULL},
        {"fffffffffffffff\r\nx", "TOO_LARGE", NULL},
        {"15\r\n012345678901234567890\r\n0\r\n\r\n", "TOO_LARGE", NULL},
        {"14\r\n01234567890123456789\r\n0\r\n\r\n", "01234567890123456789", ""},
    };

    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        for (size_t piece = 1; piece < 60; piece++) {
            const char *rest;
            assert_string_equal(decode(cases[i].data, piece, 20, &rest), cases[i].body);
            if (cases[i].rest != NULL) {
                assert_string_equal(rest, cases[i].rest);
            }
        }
    }
}

static void test_endless_lines_are_refused(void **state)
{
    const char *rest;

    memset(text, 'x', sizeof text);
    text[sizeof text - 1] = '\0';
    memcpy(text, "5;", 2);
    assert_string_equal(decode(text, 1000, 20, &rest), "INVALID_ARGUMENT");
    memcpy(text, "0\r\nA:", 5);
    assert_string_equal(decode(text, 1000, 20, &rest), "INVALID_ARGUMENT");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_request_is_taken_apart),
        cmocka_unit_test(test_targets),
        cmocka_unit_test(test_keep_alive),
        cmocka_unit_test(test_what_is_refused),
        cmocka_unit_test(test_nul_is_refused_everywhere),
        cmocka_unit_test(test_number_of_fields),
        cmocka_unit_test(test_the_end_is_found_in_any_pieces),
        cmocka_unit_test(test_chunks),
        cmocka_unit_test(test_endless_lines_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

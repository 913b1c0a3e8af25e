/*
 * The parts of http/ that have state of their own: rate limits, API keys, compressed copies.
 * What the server makes of them is tested over real HTTP in tests/server.
 */
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <zlib.h>

#include "http/internal.h"
#include "unit.h"

#define SECOND 1000000000LL

static struct md_error err;

/* ---- rate limits ---- */

static int passes(struct md__ratelimit *limits, const char *client, int64_t now_ns, int tries)
{
    int passed = 0, retry_s;

    for (int i = 0; i < tries; i++) {
        passed += md__ratelimit_pass(limits, client, "GET /x", 60, now_ns, &retry_s);
    }
    return passed;
}

static void test_bucket_holds_a_minute_and_refills(void **state)
{
    struct md__ratelimit *limits = md__ratelimit_new();
    int retry_s = 0;

    assert_int_equal(passes(limits, "10.0.0.1", SECOND, 100), 60);
    assert_false(md__ratelimit_pass(limits, "10.0.0.1", "GET /x", 60, SECOND, &retry_s));
    assert_int_equal(retry_s, 1);
    assert_int_equal(passes(limits, "10.0.0.1", 6 * SECOND, 100), 5);
    assert_int_equal(passes(limits, "10.0.0.1", 1000 * SECOND, 100), 60);
    md__ratelimit_delete(limits);
}

static void test_clients_and_routes_are_apart(void **state)
{
    struct md__ratelimit *limits = md__ratelimit_new();
    int retry_s = 0;

    assert_int_equal(passes(limits, "10.0.0.1", SECOND, 100), 60);
    assert_int_equal(passes(limits, "10.0.0.2", SECOND, 100), 60);
    assert_true(md__ratelimit_pass(limits, "10.0.0.1", "POST /x", 60, SECOND, &retry_s));
    md__ratelimit_delete(limits);
}

static void test_retry_time_is_when_it_passes(void **state)
{
    struct md__ratelimit *limits = md__ratelimit_new();
    int retry_s = 0;

    assert_true(md__ratelimit_pass(limits, "a", "r", 1, SECOND, &retry_s));
    assert_false(md__ratelimit_pass(limits, "a", "r", 1, 11 * SECOND, &retry_s));
    assert_int_equal(retry_s, 50);
    assert_false(md__ratelimit_pass(limits, "a", "r", 1, 60 * SECOND, &retry_s));
    assert_true(md__ratelimit_pass(limits, "a", "r", 1, 61 * SECOND + 1000, &retry_s));
    md__ratelimit_delete(limits);
}

/* 100,000 clients fit into the same memory; those who come most recently are still limited. */
static void test_table_is_bounded(void **state)
{
    struct md__ratelimit *limits = md__ratelimit_new();
    char client[32];

    for (int i = 0; i < 100000; i++) {
        snprintf(client, sizeof client, "10.%d.%d.%d", i / 65536, i / 256 % 256, i % 256);
        assert_int_equal(passes(limits, client, SECOND + i, 1), 1);
    }
    assert_int_equal(passes(limits, client, SECOND + 100000, 100), 59);
    md__ratelimit_delete(limits);
}

/* ---- API keys ---- */

static const char *check(const struct md__auth *auth, const char *name, const char *value)
{
    struct md_header header = {name, value};
    struct md_request request = {.headers = &header, .header_count = 1};

    return md__auth_check(auth, &request);
}

static void test_each_key_has_its_name(void **state)
{
    const struct md_http_key keys[] = {{"reader", "first-secret"}, {"writer", "other-secret"}};
    struct md__auth auth;

    assert_ok(md__auth_init(&auth, keys, 2, &err));
    assert_string_equal(check(&auth, "x-api-key", "first-secret"), "reader");
    assert_string_equal(check(&auth, "authorization", "Bearer  other-secret "), "writer");
    assert_null(check(&auth, "x-api-key", "first-secre"));
    assert_null(check(&auth, "x-api-key", "first-secretfirst-secret"));
    assert_null(check(&auth, "x-api-key", ""));
    assert_null(check(&auth, "authorization", "first-secret"));
    assert_null(check(&auth, "cookie", "first-secret"));
    md__auth_fini(&auth);
}

static void test_short_keys_are_refused(void **state)
{
    const struct md_http_key key = {"reader", "1234567"};
    struct md__auth auth;

    assert_fails(MD_ERR_INVALID, md__auth_init(&auth, &key, 1, &err));
    assert_says("reader");
}

/* ---- compression ---- */

static struct md_blob *text_blob(int seed, size_t length)
{
    struct md_buffer text;
    struct md_blob *blob;

    md_buffer_init(&text, 0);
    while (text.length < length) {
        md_buffer_printf(&text, "{\"server\":\"s%d\",\"value\":%zu},", seed, text.length % 97);
    }
    blob = md_blob_from_buffer(&text);
    md_buffer_fini(&text);
    return blob;
}

static void assert_unpacks_to(const struct md_blob *packed, const struct md_blob *plain)
{
    static unsigned char out[1 << 20];
    z_stream stream = {.next_in = (unsigned char *)(uintptr_t)packed->data,
                       .avail_in = (unsigned)packed->length,
                       .next_out = out,
                       .avail_out = sizeof out};

    assert_int_equal(inflateInit2(&stream, 15 + 16), Z_OK);
    assert_int_equal(inflate(&stream, Z_FINISH), Z_STREAM_END);
    assert_int_equal(stream.total_out, plain->length);
    assert_memory_equal(out, plain->data, plain->length);
    inflateEnd(&stream);
}

static void test_blob_is_packed_once(void **state)
{
    struct md__gzip *gzip = md__gzip_new(1);
    struct md_blob *plain = text_blob(1, 50000);
    struct md_blob *first = md__gzip_blob(gzip, plain), *second = md__gzip_blob(gzip, plain);

    assert_ptr_equal(first, second);
    assert_true(first->length < plain->length / 5);
    assert_unpacks_to(first, plain);
    md_blob_unref(first);
    md_blob_unref(second);
    md_blob_unref(plain);
    md__gzip_delete(gzip);
}

static void test_cache_does_not_keep_the_dead_alive(void **state)
{
    struct md__gzip *gzip = md__gzip_new(1);
    struct md_blob *old = text_blob(1, 5000), *next = text_blob(2, 5000);
    struct md_blob *packed = md__gzip_blob(gzip, old);

    assert_int_equal(packed->refs, 2); /* ours and the cache's */
    md_blob_unref(old);
    md_blob_unref(md__gzip_blob(gzip, next));
    assert_int_equal(packed->refs, 1);
    md_blob_unref(packed);
    md_blob_unref(next);
    md__gzip_delete(gzip);
}

static void test_cache_forgets_the_least_used(void **state)
{
    struct md__gzip *gzip = md__gzip_new(1);
    struct md_blob *plain[50], *packed;

    for (int i = 0; i < 50; i++) {
        plain[i] = text_blob(i, 5000);
        packed = md__gzip_blob(gzip, plain[i]);
        assert_unpacks_to(packed, plain[i]);
        md_blob_unref(packed);
        md_blob_unref(md__gzip_blob(gzip, plain[0])); /* used all the time, so it stays */
    }
    assert_int_equal(plain[0]->refs, 2);
    assert_int_equal(plain[1]->refs, 1);
    for (int i = 0; i < 50; i++) {
        md_blob_unref(plain[i]);
    }
    md__gzip_delete(gzip);
}

static void test_what_does_not_shrink_stays_plain(void **state)
{
    struct md__gzip *gzip = md__gzip_new(1), *never = md__gzip_new(-1);
    struct md_blob *noise, *text = text_blob(1, 5000);
    unsigned char bytes[4096];
    uint32_t random = 1;

    for (size_t i = 0; i < sizeof bytes; i++) {
        random = random * 1664525u + 1013904223u;
        bytes[i] = (unsigned char)(random >> 24);
    }
    noise = md_blob_new(bytes, sizeof bytes);
    assert_null(md__gzip_blob(gzip, noise));
    assert_null(md__gzip_bytes(gzip, bytes, sizeof bytes));
    assert_null(md__gzip_blob(never, text));
    md_blob_unref(noise);
    md_blob_unref(text);
    md__gzip_delete(gzip);
    md__gzip_delete(never);
}

struct packer {
    struct md__gzip *gzip;
    struct md_blob **blobs;
};

static void *pack_many(void *context)
{
    struct packer *packer = context;

    for (int i = 0; i < 60; i++) {
        struct md_blob *packed = md__gzip_blob(packer->gzip, packer->blobs[i % 12]);
        if (packed == NULL) {
            return packer;
        }
        md_blob_unref(packed);
    }
    return NULL;
}

static void test_many_ask_at_once(void **state)
{
    struct md_blob *blobs[12];
    struct packer packer = {md__gzip_new(1), blobs};
    pthread_t threads[4];

    for (int i = 0; i < 12; i++) {
        blobs[i] = text_blob(i, 20000);
    }
    for (int i = 0; i < 4; i++) {
        assert_int_equal(pthread_create(&threads[i], NULL, pack_many, &packer), 0);
    }
    for (int i = 0; i < 4; i++) {
        void *failed;
        pthread_join(threads[i], &failed);
        assert_null(failed);
    }
    for (int i = 0; i < 12; i++) {
        md_blob_unref(blobs[i]);
    }
    md__gzip_delete(packer.gzip);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_bucket_holds_a_minute_and_refills),
        cmocka_unit_test(test_clients_and_routes_are_apart),
        cmocka_unit_test(test_retry_time_is_when_it_passes),
        cmocka_unit_test(test_table_is_bounded),
        cmocka_unit_test(test_each_key_has_its_name),
        cmocka_unit_test(test_short_keys_are_refused),
        cmocka_unit_test(test_blob_is_packed_once),
        cmocka_unit_test(test_cache_does_not_keep_the_dead_alive),
        cmocka_unit_test(test_cache_forgets_the_least_used),
        cmocka_unit_test(test_what_does_not_shrink_stays_plain),
        cmocka_unit_test(test_many_ask_at_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

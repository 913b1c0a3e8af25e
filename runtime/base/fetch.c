/*
 * HTTP client; see fetch.h. One easy handle per call: the callers are a feed every few seconds and
 * rare notifications, for which a pool of connections would not pay.
 *
 * What comes from configuration or a script (method, URL, headers) is checked before libcurl sees
 * it, so that no line break can smuggle in a header.
 */
#include "base/fetch.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#include <curl/curl.h>

struct transfer {
    const struct md_fetch_request *request;
    struct md_buffer *response;
    size_t received;
    bool is_too_large;
};

/* The parts of the URL that may be told. */
struct target {
    char text[300];
};

/* ---- what may go in ---- */

static bool is_method(const char *method)
{
    size_t length = method ? strspn(method, "ABCDEFGHIJKLMNOPQRSTUVWXYZ") : 0;
    return length > 0 && length <= 16 && method[length] == '\0';
}

static bool has_control(const char *text)
{
    for (; *text; text++)
        if ((unsigned char)*text < 0x20 || *text == 0x7F)
            return true;
    return false;
}

static bool is_header(const char *header)
{
    const char *colon = strchr(header, ':');
    return colon && colon != header && !has_control(header) &&
           !memchr(header, ' ', (size_t)(colon - header));
}

static enum md_status read_target(CURLU *url, const char *text, struct target *target,
                                  struct md_error *err)
{
    char *scheme = NULL, *host = NULL, *port = NULL;
    enum md_status status = MD_OK;
    if (has_control(text) || curl_url_set(url, CURLUPART_URL, text, 0) != CURLUE_OK ||
        curl_url_get(url, CURLUPART_SCHEME, &scheme, 0) != CURLUE_OK ||
        curl_url_get(url, CURLUPART_HOST, &host, 0) != CURLUE_OK ||
        curl_url_get(url, CURLUPART_PORT, &port, CURLU_DEFAULT_PORT) != CURLUE_OK)
        status = md_fail(err, MD_ERR_INVALID, "not a URL with scheme and host");
    else if (strcmp(scheme, "http") != 0 && strcmp(scheme, "https") != 0)
        status = md_fail(err, MD_ERR_INVALID, "URL scheme %s is neither http nor https", scheme);
    else
        snprintf(target->text, sizeof target->text, "%s://%s:%s", scheme, host, port);
    curl_free(port);
    curl_free(host);
    curl_free(scheme);
    return status;
}

static enum md_status check_request(const struct md_fetch_request *request, struct target *target,
                                    struct md_error *err)
{
    if (!is_method(request->method))
        return md_fail(err, MD_ERR_INVALID, "not an HTTP method");
    if (request->timeout_ms < 1)
        return md_fail(err, MD_ERR_INVALID, "a request needs a timeout of 1 ms or more");
    for (int i = 0; request->headers && request->headers[i]; i++)
        if (!is_header(request->headers[i]))
            return md_fail(err, MD_ERR_INVALID, "header %d is not of the form Name: value", i + 1);
    CURLU *url = curl_url();
    if (!url)
        return md_fail(err, MD_ERR_MEMORY, "out of memory for a URL");
    enum md_status status = read_target(url, request->url ? request->url : "", target, err);
    curl_url_cleanup(url);
    return status;
}

/* ---- callbacks ---- */

static size_t receive(char *data, size_t size, size_t count, void *context)
{
    struct transfer *transfer = context;
    size_t length = size * count;
    if (length > transfer->request->response_bytes_max - transfer->received) {
        transfer->is_too_large = true;
        return 0; /* fewer than came: libcurl gives up */
    }
    transfer->received += length;
    md_buffer_append(transfer->response, data, length);
    return transfer->response->failed ? 0 : length;
}

static int watch_stop(void *context, curl_off_t down_total, curl_off_t down, curl_off_t up_total,
                      curl_off_t up)
{
    (void)down_total, (void)down, (void)up_total, (void)up;
    const struct transfer *transfer = context;
    return transfer->request->stop && atomic_load(transfer->request->stop);
}

/* ---- the call ---- */

static bool append_header(struct curl_slist **list, const char *header)
{
    struct curl_slist *longer = curl_slist_append(*list, header);
    if (longer)
        *list = longer;
    return longer != NULL;
}

static bool build_headers(const struct md_fetch_request *request, struct curl_slist **list)
{
    /* Without this a large body waits a second for a "100 Continue" that few servers send. */
    if (!append_header(list, "Expect:"))
        return false;
    for (int i = 0; request->headers && request->headers[i]; i++)
        if (!append_header(list, request->headers[i]))
            return false;
    return true;
}

static void set_body(CURL *curl, const struct md_fetch_request *request)
{
    bool is_head = strcmp(request->method, "HEAD") == 0;
    if (is_head)
        curl_easy_setopt(curl, CURLOPT_NOBODY, 1L);
    if (!is_head && (request->body_length > 0 || strcmp(request->method, "POST") == 0)) {
        curl_easy_setopt(curl, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)request->body_length);
        curl_easy_setopt(curl, CURLOPT_POSTFIELDS, request->body_length > 0 ? request->body : "");
    }
    curl_easy_setopt(curl, CURLOPT_CUSTOMREQUEST, request->method);
}

static void set_options(CURL *curl, struct transfer *transfer, struct curl_slist *headers)
{
    const struct md_fetch_request *request = transfer->request;
    curl_easy_setopt(curl, CURLOPT_URL, request->url);
    curl_easy_setopt(curl, CURLOPT_PROTOCOLS_STR, "http,https");
    curl_easy_setopt(curl, CURLOPT_FOLLOWLOCATION, 0L);
    curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(curl, CURLOPT_TIMEOUT_MS, (long)request->timeout_ms);
    curl_easy_setopt(curl, CURLOPT_CONNECTTIMEOUT_MS, (long)request->timeout_ms);
    curl_easy_setopt(curl, CURLOPT_USERAGENT, "moondial/" MD_VERSION);
    curl_easy_setopt(curl, CURLOPT_HTTPHEADER, headers);
    curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, receive);
    curl_easy_setopt(curl, CURLOPT_WRITEDATA, transfer);
    curl_easy_setopt(curl, CURLOPT_NOPROGRESS, 0L);
    curl_easy_setopt(curl, CURLOPT_XFERINFOFUNCTION, watch_stop);
    curl_easy_setopt(curl, CURLOPT_XFERINFODATA, transfer);
    set_body(curl, request);
}

static enum md_status code_of(CURLcode result, const struct transfer *transfer)
{
    if (transfer->is_too_large)
        return MD_ERR_TOO_LARGE;
    if (transfer->response->failed)
        return transfer->response->failed;
    switch (result) {
    case CURLE_OPERATION_TIMEDOUT:
        return MD_ERR_TIMEOUT;
    case CURLE_ABORTED_BY_CALLBACK:
        return MD_ERR_CANCELLED;
    case CURLE_OUT_OF_MEMORY:
        return MD_ERR_MEMORY;
    case CURLE_URL_MALFORMAT:
        return MD_ERR_INVALID;
    default:
        return MD_ERR_IO;
    }
}

static enum md_status report(CURLcode result, const struct transfer *transfer,
                             const struct target *target, struct md_error *err)
{
    enum md_status code = code_of(result, transfer);
    const char *method = transfer->request->method;
    if (code == MD_ERR_TOO_LARGE)
        return md_fail(err, code, "%s %s: the answer is over its limit of %zu bytes", method,
                       target->text, transfer->request->response_bytes_max);
    return md_fail(err, code, "%s %s: %s", method, target->text, curl_easy_strerror(result));
}

/* A date or seconds; libcurl reads both. */
static int64_t retry_after_s(CURL *curl)
{
    curl_off_t seconds = 0;
    return curl_easy_getinfo(curl, CURLINFO_RETRY_AFTER, &seconds) == CURLE_OK ? seconds : 0;
}

static void init_curl(void)
{
    curl_global_init(CURL_GLOBAL_DEFAULT);
}

enum md_status md_fetch(const struct md_fetch_request *request, int *http_status,
                        struct md_buffer *response, struct md_error *err)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, init_curl);
    struct target target;
    enum md_status status = check_request(request, &target, err);
    if (status)
        return status;

    struct transfer transfer = {.request = request, .response = response};
    struct curl_slist *headers = NULL;
    CURL *curl = curl_easy_init();
    if (!curl || !build_headers(request, &headers)) {
        status = md_fail(err, MD_ERR_MEMORY, "out of memory for a request");
        goto out;
    }
    set_options(curl, &transfer, headers);
    CURLcode result = curl_easy_perform(curl);
    if (result == CURLE_OK || transfer.is_too_large) {
        long code = 0;
        curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &code);
        *http_status = (int)code;
        if (request->retry_after_s)
            *request->retry_after_s = retry_after_s(curl);
    }
    if (result != CURLE_OK)
        status = report(result, &transfer, &target, err);
out:
    curl_slist_free_all(headers);
    curl_easy_cleanup(curl);
    return status;
}

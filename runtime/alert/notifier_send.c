/*
 * The thread of one target: takes the oldest message, tries to deliver it, again and again with
 * pauses, and says once that it does not work and once that it works again.
 */
#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "alert/notifier_internal.h"
#include "base/fetch.h"
#include "base/log.h"
#include "base/wait.h"
#include "store/queue.h"

enum { HEADERS_MAX = 40, ANSWER_BYTES_MAX = 65536, PIPE_BYTES = 4096 };

static const int64_t look_ns = 250000000, retry_after_ms_max = 3600000;

enum outcome { SENT, RETRY, REJECTED };

struct attempt {
    const struct md_notify_receiver *receiver;
    const struct md__message *message;
    const _Atomic bool *stop;
    enum outcome outcome;
    int64_t retry_after_ms; /* 0: the receiver named none */
    char text[200];         /* what went wrong */
};

int64_t md_notifier_pause_ms(int attempts, uint64_t seed)
{
    int doublings = attempts < 1 ? 0 : attempts - 1;
    int64_t pause_ms = doublings < 6 ? (int64_t)1000 << doublings : 60000;
    seed ^= (uint64_t)attempts * 0x9e3779b97f4a7c15ULL;
    seed = (seed ^ seed >> 31) * 0xbf58476d1ce4e5b9ULL;
    seed ^= seed >> 29;
    return pause_ms / 2 + (int64_t)(seed % (uint64_t)(pause_ms / 2 + 1));
}

/* ---- HTTP ------------------------------------------------------------------------------------ */

/* "HTTP 400: what it said", the beginning of that. */
static void describe_answer(struct attempt *attempt, int http_status,
                            const struct md_buffer *answer)
{
    int used = snprintf(attempt->text, sizeof attempt->text, "HTTP %d", http_status);
    size_t length = answer->length < 120 ? answer->length : 120;
    if (length == 0)
        return;
    used += snprintf(attempt->text + used, sizeof attempt->text - (size_t)used, ": ");
    for (size_t i = 0; i < length && used < (int)sizeof attempt->text - 1; i++)
        attempt->text[used++] = isprint((unsigned char)answer->data[i]) ? answer->data[i] : ' ';
    attempt->text[used] = '\0';
}

static void judge(struct attempt *attempt, int http_status, int64_t retry_after_s,
                  const struct md_buffer *answer)
{
    if (http_status >= 200 && http_status < 300) {
        attempt->outcome = SENT;
        return;
    }
    bool rejected = http_status >= 400 && http_status < 500 && http_status != 429;
    attempt->outcome = rejected ? REJECTED : RETRY;
    int64_t s_max = retry_after_ms_max / 1000;
    attempt->retry_after_ms = (retry_after_s < s_max ? retry_after_s : s_max) * 1000;
    describe_answer(attempt, http_status, answer);
}

/* Of "POST http://host:port: reason" the reason. */
static const char *reason_of(const char *text)
{
    const char *url = strstr(text, "://");
    const char *reason = url ? strstr(url, ": ") : NULL;
    return reason ? reason + 2 : text;
}

static void post(struct attempt *attempt, const char *url)
{
    char key[MD_NOTIFY_KEY_BYTES + 32];
    const char *headers[HEADERS_MAX + 3] = {"Content-Type: application/json", key};
    struct md_buffer answer;
    struct md_error err;
    int http_status = 0;
    int64_t retry_after_s = 0;
    snprintf(key, sizeof key, "Idempotency-Key: %s", attempt->message->key);
    for (int i = 0; i < attempt->receiver->header_count && i < HEADERS_MAX; i++)
        headers[2 + i] = attempt->receiver->headers[i];
    md_buffer_init(&answer, 0);
    struct md_fetch_request request = {
        .method = "POST",
        .url = url,
        .headers = headers,
        .body = attempt->message->body,
        .body_length = attempt->message->length,
        .timeout_ms = attempt->receiver->timeout_ms,
        .response_bytes_max = ANSWER_BYTES_MAX,
        .stop = attempt->stop,
        .retry_after_s = &retry_after_s,
    };
    enum md_status status = md_fetch(&request, &http_status, &answer, &err);
    if (status == MD_OK || status == MD_ERR_TOO_LARGE) {
        judge(attempt, http_status, retry_after_s, &answer);
    } else {
        attempt->outcome = status == MD_ERR_INVALID ? REJECTED : RETRY;
        snprintf(attempt->text, sizeof attempt->text, "%.190s", reason_of(err.text));
    }
    md_buffer_fini(&answer);
}

static void push(struct attempt *attempt)
{
    struct md_buffer url;
    const char *base = attempt->receiver->url;
    size_t length = strlen(base);
    md_buffer_init(&url, 0);
    md_buffer_append(&url, base, length > 0 && base[length - 1] == '/' ? length - 1 : length);
    md_buffer_text(&url, "/api/v2/alerts");
    if (url.failed)
        snprintf(attempt->text, sizeof attempt->text, "no memory");
    else
        post(attempt, url.data);
    md_buffer_fini(&url);
}

/* ---- file and standard output ---------------------------------------------------------------- */

static void fail_errno(struct attempt *attempt, const char *doing)
{
    snprintf(attempt->text, sizeof attempt->text, "%s: %s", doing, strerror(errno));
}

static bool write_whole(int fd, const struct md__message *message)
{
    for (size_t done = 0; done < message->length;) {
        ssize_t wrote = write(fd, message->body + done, message->length - done);
        if (wrote < 0 && errno != EINTR)
            return false;
        done += wrote > 0 ? (size_t)wrote : 0;
    }
    return true;
}

/* Never blocks: what is no regular file is refused. */
static void append(struct attempt *attempt)
{
    struct stat status;
    int flags = O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK;
    int fd = open(attempt->receiver->url, flags, 0644);
    if (fd < 0) {
        fail_errno(attempt, "cannot open its file");
        return;
    }
    if (fstat(fd, &status) != 0 || !S_ISREG(status.st_mode))
        snprintf(attempt->text, sizeof attempt->text, "its path is no regular file");
    else if (!write_whole(fd, attempt->message) || fdatasync(fd) != 0)
        fail_errno(attempt, "cannot write its file");
    else
        attempt->outcome = SENT;
    close(fd);
}

/* Whoever reads a pipe may have stopped reading: only as much as it takes at once, and only while
 * we are not to end. */
static void print(struct attempt *attempt)
{
    const struct md__message *message = attempt->message;
    struct pollfd out = {.fd = STDOUT_FILENO, .events = POLLOUT};
    size_t done = 0;
    while (done < message->length && !atomic_load(attempt->stop)) {
        if (poll(&out, 1, (int)(look_ns / 1000000)) <= 0)
            continue;
        size_t piece = message->length - done < PIPE_BYTES ? message->length - done : PIPE_BYTES;
        ssize_t wrote = write(STDOUT_FILENO, message->body + done, piece);
        if (wrote < 0 && errno != EINTR && errno != EAGAIN) {
            fail_errno(attempt, "cannot write standard output");
            return;
        }
        done += wrote > 0 ? (size_t)wrote : 0;
    }
    if (done == message->length)
        attempt->outcome = SENT;
    else
        snprintf(attempt->text, sizeof attempt->text, "ended");
}

/* ---- the thread ------------------------------------------------------------------------------ */

static void deliver(struct attempt *attempt)
{
    switch (attempt->receiver->kind) {
    case MD_NOTIFY_ALERTMANAGER:
        push(attempt);
        break;
    case MD_NOTIFY_WEBHOOK:
        post(attempt, attempt->receiver->url);
        break;
    case MD_NOTIFY_FILE:
        append(attempt);
        break;
    case MD_NOTIFY_STDOUT:
        print(attempt);
        break;
    }
}

static void succeeded(struct md__target *target)
{
    if (target->failing_since_ns != 0)
        md_log(MD_LOG_INFO, "notify", "receiver %s takes messages again", target->receiver_name);
    target->attempts = 0;
    target->retry_ns = target->failing_since_ns = 0;
    target->failure[0] = '\0';
}

static void failed(struct md__target *target, const struct attempt *attempt)
{
    int64_t now_ns = md_monotonic_ns(target->notifier->clock);
    if (target->failing_since_ns == 0) {
        target->failing_since_ns = now_ns;
        md_log(MD_LOG_WARN, "notify", "receiver %s: %s; waiting messages: %d",
               target->receiver_name, attempt->text, target->count);
    }
    target->attempts++;
    int64_t pause_ms =
        md_notifier_pause_ms(target->attempts, (uint64_t)attempt->message->id ^ (uint64_t)now_ns);
    if (attempt->retry_after_ms > pause_ms)
        pause_ms = attempt->retry_after_ms;
    target->retry_ns = now_ns + pause_ms * 1000000;
    snprintf(target->failure, sizeof target->failure, "%s", attempt->text);
}

/* With the lock; the message is gone or waits for the next attempt. */
static void settle(struct md__target *target, struct md__message *message,
                   const struct attempt *attempt)
{
    static const char *const names[] = {"sent", "failed", "rejected"};
    bool interrupted = atomic_load(&target->stop) && attempt->outcome == RETRY;
    message->sending = false;
    if (interrupted)
        return;
    md__notifier_count(target->receiver_name, names[attempt->outcome], 1);
    if (attempt->outcome == RETRY) {
        failed(target, attempt);
        return;
    }
    if (attempt->outcome == REJECTED)
        md_log(MD_LOG_WARN, "notify",
               "receiver %s rejects a message (alerts: %d), it is dropped: %s",
               target->receiver_name, message->alert_count, attempt->text);
    succeeded(target);
    md__queue_take(target, message);
    md__notifier_length(target->receiver_name, target->count);
    if (target->count == 0) {
        target->notifier->due = true; /* what is told again and again may be told again */
        pthread_cond_broadcast(&target->notifier->changed);
    }
}

/* With the lock, which is given up meanwhile. */
static void try_first(struct md__target *target)
{
    struct md_notifier *notifier = target->notifier;
    struct md__message *message = target->first;
    struct md_notify_config *config = md_notify_config_ref(target->config);
    struct attempt attempt = {
        .receiver = &md_notify_config_settings(config)->receivers[target->receiver],
        .message = message,
        .stop = &target->stop,
        .outcome = RETRY,
    };
    message->sending = true;
    pthread_mutex_unlock(&notifier->lock);
    int64_t begun_ns = md_monotonic_ns(notifier->clock);
    deliver(&attempt);
    double seconds = (double)(md_monotonic_ns(notifier->clock) - begun_ns) / 1e9;
    pthread_mutex_lock(&notifier->lock);
    md__notifier_took(target->receiver_name, seconds);
    settle(target, message, &attempt);
    md_notify_config_unref(config);
    if (target->first == message)
        return;
    pthread_mutex_unlock(&notifier->lock);
    if (notifier->store)
        md_store_queue_remove(notifier->store, message->id, NULL);
    free(message);
    pthread_mutex_lock(&notifier->lock);
}

void *md__target_main(void *context)
{
    struct md__target *target = context;
    struct md_notifier *notifier = target->notifier;
    pthread_mutex_lock(&notifier->lock);
    while (!atomic_load(&target->stop)) {
        int64_t wait_ns = target->retry_ns - md_monotonic_ns(notifier->clock);
        if (!target->first)
            pthread_cond_wait(&notifier->changed, &notifier->lock);
        else if (wait_ns > 0)
            md_cond_wait_ns(&notifier->changed, &notifier->lock,
                            wait_ns < look_ns ? wait_ns : look_ns);
        else
            try_first(target);
    }
    pthread_mutex_unlock(&notifier->lock);
    return NULL;
}

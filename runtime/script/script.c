/* The engine's life and its way from a request to a response; see script.h. */
#include "script/script.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json_out.h"
#include "base/span.h"
#include "base/stack.h"
#include "base/wait.h"
#include "script/generation.h"
#include "script/test_internal.h"
#include "script/watch.h"
#include "serve/serve.h"

static const size_t header_text_max = (size_t)64 << 10;

/* ---- life ------------------------------------------------------------------------------------ */

static enum md_status start_bindings(struct md_script *script, struct md_error *err)
{
    enum md_status status = MD_OK;
    for (int i = 0; md__bindings[i] != NULL && status == MD_OK; i++) {
        if (md__bindings[i]->start != NULL)
            status = md__bindings[i]->start(script, err);
    }
    return status;
}

/* The first generation; later ones are reload.c's. */
static enum md_status make_first(struct md_script *script, const struct md_config *config,
                                 struct md_error *err)
{
    struct md__making making = {.number = ++script->numbers, .reason = "start"};
    making.config = (struct md_config *)config;
    making.sources = md__sources_new(script->dir, true);
    if (making.sources == NULL)
        return md_fail(err, MD_ERR_MEMORY, "no memory for the script engine");
    enum md_status status = md__generation_new(script, &making, &script->current, err);
    md__test_read(making.sources, script->dir);
    md__sources_seal(making.sources);
    md__sources_unref(making.sources);
    if (status == MD_OK)
        status = md__generation_settle(script, true, err);
    if (status == MD_OK) {
        atomic_store(&script->current->served_ns, md_monotonic_ns(script->clock));
        md__metric_generations(1, 1);
    }
    return status;
}

enum md_status md_script_new(const struct md_script_options *options, struct md_script **result,
                             struct md_error *err)
{
    struct md_script *script = calloc(1, sizeof *script);
    if (script == NULL)
        return md_fail(err, MD_ERR_MEMORY, "no memory for the script engine");
    script->clock = options->clock;
    script->config = md_config_ref(options->config);
    script->serve = options->serve;
    script->store = options->store;
    script->threads = options->threads;
    script->started_ms = md_now_ms(options->clock);
    script->dir = strdup(options->dir);
    script->lib_dir = strdup(options->lib_dir);
    script->library = md__sources_new(options->lib_dir, false);
    pthread_mutex_init(&script->lock, NULL);
    pthread_mutex_init(&script->reloading, NULL);
    md_cond_init(&script->stopped);
    enum md_status status = MD_OK;
    if (script->dir == NULL || script->lib_dir == NULL || script->library == NULL)
        status = md_fail(err, MD_ERR_MEMORY, "no memory for the script engine");
    if (status == MD_OK)
        status = start_bindings(script, err);
    if (status == MD_OK)
        status = make_first(script, options->config, err);
    if (status != MD_OK) {
        md_script_delete(script);
        return status;
    }
    *result = script;
    return MD_OK;
}

void md_script_delete(struct md_script *script)
{
    if (script == NULL)
        return;
    md_script_stop(script);
    md__watcher_delete(script->watcher);
    md__rehearse_fini(script);
    struct md_generation *last = script->current;
    script->current = NULL;
    md__generation_unref(last);
    md__past_clear(script);
    int count = 0;
    while (md__bindings[count] != NULL)
        count++;
    while (count-- > 0) { /* later bindings stand on earlier ones */
        if (md__bindings[count]->fini != NULL)
            md__bindings[count]->fini(script);
    }
    md_config_unref(script->config);
    md__sources_unref(script->library);
    pthread_cond_destroy(&script->stopped);
    pthread_mutex_destroy(&script->reloading);
    pthread_mutex_destroy(&script->lock);
    free(script->dir);
    free(script->lib_dir);
    free(script);
}

/* In slices: a generation that expires is noticed, and being woken for another reason costs at most
 * one of them. */
bool md__script_sleep(struct md_script *script, const struct md_generation *generation, int64_t ns)
{
    static const int64_t slice_ns = 250000000;
    bool stopping = atomic_load(&script->stopping);
    while (ns > 0 && !stopping && (generation == NULL || !md__generation_expired(generation))) {
        int64_t wait_ns = ns < slice_ns ? ns : slice_ns;
        pthread_mutex_lock(&script->lock);
        bool in_time =
            script->stopping || md_cond_wait_ns(&script->stopped, &script->lock, wait_ns);
        stopping = script->stopping;
        pthread_mutex_unlock(&script->lock);
        if (!in_time)
            ns -= wait_ns;
    }
    return !stopping && (generation == NULL || !md__generation_expired(generation));
}

/* ---- responses ------------------------------------------------------------------------------- */

void md_response_init(struct md_response *response, size_t body_bytes_max)
{
    memset(response, 0, sizeof *response);
    md_buffer_init(&response->body, body_bytes_max);
    md_arena_init(&response->arena, header_text_max);
}

void md_response_fini(struct md_response *response)
{
    md_buffer_fini(&response->body);
    md_blob_unref(response->blob);
    md_arena_fini(&response->arena);
}

void md_response_error(struct md_response *response, const struct md_error *err)
{
    md_blob_unref(response->blob);
    response->blob = NULL;
    response->header_count = 0;
    response->status = md_status_http(err->code);
    response->content_type = "application/json";
    md_buffer_clear(&response->body);
    md_buffer_text(&response->body, "{\"detail\":");
    md_json_string(&response->body, err->text, strlen(err->text));
    md_buffer_text(&response->body, ",\"code\":");
    const char *code = md_status_name(err->code);
    md_json_string(&response->body, code, strlen(code));
    md_buffer_text(&response->body, "}");
}

/* ---- requests -------------------------------------------------------------------------------- */

enum md_status md_script_match(struct md_script *script, const char *method, const char *path,
                               struct md_match *match, struct md_error *err)
{
    match->param_count = 0;
    match->generation = md__generation_current(script);
    enum md_status status = md__routes_match(
        match->generation->routes, match->generation->route_count, method, path, match, err);
    if (status != MD_OK)
        md_match_fini(match);
    return status;
}

void md_match_fini(struct md_match *match)
{
    md__generation_unref(match->generation);
    match->generation = NULL;
}

/* What the client learns of a failed handler: errors that the script meant for it as they are, a
 * mistake in the script only by its route, and that it was stopped. */
static void respond_failure(struct md__task *task, const struct md_error *cause,
                            struct md_response *response)
{
    struct md_error shown = *cause;
    if (cause->code == MD_ERR_SCRIPT)
        md_fail(&shown, MD_ERR_SCRIPT, "script error in %s%s%s", task->what,
                task->killed ? ": it " : "", task->killed ? md__spent_text : "");
    if (cause->code == MD_ERR_MEMORY)
        md_error_context(&shown, "%s", task->what);
    if (cause->code == MD_ERR_SCRIPT || cause->code == MD_ERR_MEMORY)
        md__task_log(task, cause);
    md_response_error(response, &shown);
    if (cause->code == MD_ERR_MEMORY)
        response->status = md_status_http(MD_ERR_SCRIPT);
}

static void handle(void *context)
{
    struct md__http_call *call = context;
    struct md__task *task = call->task;
    struct md_error cause = {0};
    enum md_status status = md__task_run(task, md__http_prepare, call, &cause);
    if (status == MD_OK)
        status = md__task_protect(task, md__http_finish, call, &cause);
    if (status != MD_OK)
        respond_failure(task, &cause, call->response);
    md__generation_count(call->match->generation,
                         cause.code == MD_ERR_SCRIPT || cause.code == MD_ERR_MEMORY);
    md__task_end(task);
    if (status == MD_OK && call->streams)
        md__stream_run(call);
}

/* "GET /risk/{server}": copied, because printf takes longer than many a handler. */
static void name_task(char *what, size_t size, const struct md_route_info *route)
{
    char *end = memccpy(what, route->method, '\0', size);
    if (end != NULL) {
        end[-1] = ' ';
        memccpy(end, route->pattern, '\0', (size_t)(what + size - end));
    }
    what[size - 1] = '\0';
}

enum md_status md_script_call(struct md_script *script, const struct md_match *match,
                              const struct md_request *request, struct md_response *response,
                              struct md_error *err)
{
    char what[128];
    struct md_generation *generation = match->generation; /* whose script this is */
    (void)script;
    struct md__task task = {.what = what,
                            .deadline_ns = request->deadline_ns,
                            .stat = &((struct md__route *)match->route)->stat};
    struct md__http_call call = {
        .match = match, .request = request, .response = response, .task = &task};
    struct md_error failure;
    int span = md_span_begin("state");
    enum md_status status = md__pool_take(generation->pool, generation->state_wait_ns,
                                          request->deadline_ns, &task.state, &failure);
    task.now_ns = md_span_end(span);
    if (status != MD_OK) {
        md_response_error(response, &failure);
        return md_fail(err, status, "%s", failure.text);
    }
    name_task(what, sizeof what, match->route);
    task.budget_ns = generation->budget_ns;
    status = md_stack_call(handle, &call, err); /* connection threads have little stack */
    if (status != MD_OK)
        md_response_error(response, err);
    md__pool_give(task.state);
    return status;
}

/* ---- about the app --------------------------------------------------------------------------- */

static bool has_models(const struct md_script *script, const struct md_generation *generation)
{
    for (int i = 0; i < generation->model_count; i++) {
        struct md_model *model = NULL;
        if (generation->models[i].optional)
            continue;
        if (script->serve == NULL ||
            md_serve_model(script->serve, generation->models[i].name, &model, NULL) != MD_OK)
            return false;
        md_model_unref(model);
    }
    return true;
}

bool md_script_ready(struct md_script *script)
{
    if (!atomic_load(&script->begun))
        return false;
    struct md_generation *generation = md__generation_current(script);
    bool ready = has_models(script, generation);
    md__generation_unref(generation);
    return ready;
}

void md_script_health(struct md_script *script, struct md_buffer *json)
{
    struct md_generation *generation = md__generation_current(script);
    md_buffer_text(json, generation->health);
    md__generation_unref(generation);
}

void md_script_visit_routes(struct md_script *script,
                            void (*visit)(void *context, const struct md_route_info *route),
                            void *context)
{
    struct md_generation *generation = md__generation_current(script);
    for (int i = 0; i < generation->route_count; i++)
        visit(context, &generation->routes[i].info);
    md__generation_unref(generation);
}

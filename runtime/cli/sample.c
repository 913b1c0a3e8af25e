/*
 * Sizes and random values for models that bench and inspect know nothing about; see sample.h.
 */
#include "cli/sample.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/json_in.h"

static int64_t declared_length(const json_t *config, const char *symbol)
{
    const json_t *places[] = {config, json_object_get(config, "dataset")};
    char own[80];
    const char *names[] = {own, strcmp(symbol, "decoder") == 0 ? "max_prediction_length" : own};

    snprintf(own, sizeof own, "max_%s_length", symbol);
    for (int place = 0; place < 2; place++) {
        for (int name = 0; name < 2; name++) {
            json_int_t length = json_integer_value(json_object_get(places[place], names[name]));
            if (length > 0) {
                return length;
            }
        }
    }
    return 0;
}

static int find_symbol(const struct md_graph *graph, const char *name, size_t length)
{
    for (int i = 0; i < graph->symbol_count; i++) {
        if (strlen(graph->symbols[i]) == length && strncmp(graph->symbols[i], name, length) == 0) {
            return i;
        }
    }
    return -1;
}

/* Reads "encoder=288,decoder=96". */
static enum md_status take_given(struct md__sample *sample, const char *given, struct md_error *err)
{
    while (given != NULL && *given != '\0') {
        size_t length = strcspn(given, "=");
        int symbol = find_symbol(sample->graph, given, length);
        char *end;
        long long size = given[length] == '=' ? strtoll(given + length + 1, &end, 10) : 0;
        if (size < 1 || size > 1000000000 || (*end != ',' && *end != '\0')) {
            return md_fail(err, MD_ERR_INVALID, "--symbol takes NAME=SIZE,..., not \"%.64s\"",
                           given);
        }
        if (symbol < 0) {
            return md_fail(err, MD_ERR_INVALID, "the model has no symbol \"%.*s\"",
                           (int)(length > 64 ? 64 : length), given);
        }
        sample->sizes[symbol] = size;
        given = *end == ',' ? end + 1 : end;
    }
    return MD_OK;
}

enum md_status md__sample_init(struct md__sample *sample, const struct md_graph *graph,
                               const char *config_json, const char *given, struct md_error *err)
{
    json_t *config = NULL;

    *sample = (struct md__sample){.graph = graph, .random = 88172645463325252u};
    if (graph->symbol_count > MD__SAMPLE_SYMBOLS_MAX || graph->input_count > MD__SAMPLE_PORTS_MAX) {
        return md_fail(err, MD_ERR_UNSUPPORTED, "more than %d symbols or %d inputs",
                       MD__SAMPLE_SYMBOLS_MAX, MD__SAMPLE_PORTS_MAX);
    }
    if (md_json_parse(config_json, strlen(config_json), &config, NULL) != MD_OK) {
        config = NULL;
    }
    for (int i = 0; i < graph->symbol_count; i++) {
        int64_t length = declared_length(config, graph->symbols[i]);
        sample->sizes[i] = length > 0 ? length : graph->symbol_samples[i];
    }
    json_decref(config);
    return take_given(sample, given, err);
}

enum md_status md__sample_share_known(struct md__sample *sample, const char *config_json,
                                      struct md_error *err)
{
    json_t *config = NULL, *name, *other;
    size_t known, column;

    if (md_json_parse(config_json, strlen(config_json), &config, NULL) != MD_OK) {
        config = NULL;
    }
    const json_t *columns = json_object_get(config, "x_reals");
    json_array_foreach(json_object_get(config, "time_varying_reals_decoder"), known, name)
    {
        json_array_foreach((json_t *)(uintptr_t)columns, column, other)
        {
            if (column < MD__SAMPLE_KNOWN_MAX && json_equal(name, other)) {
                sample->known[column] = true;
                sample->known_width = (int)json_array_size(columns);
            }
        }
    }
    json_decref(config);
    return sample->known_width > 0
               ? MD_OK
               : md_fail(err, MD_ERR_INVALID, "config.json names no known reals of a decoder");
}

/* Marks the columns of list `all` that list `some` names. */
static void mark(const json_t *config, const char *all, const char *some, bool *marks)
{
    json_t *name, *other;
    size_t column, i;

    json_array_foreach(json_object_get(config, all), column, name)
    {
        json_array_foreach(json_object_get(config, some), i, other)
        {
            if (column < MD__SAMPLE_KNOWN_MAX && json_equal(name, other)) {
                marks[column] = true;
            }
        }
    }
}

void md__sample_roll(struct md__sample *sample, const char *config_json)
{
    json_t *config = NULL, *name;
    size_t column;

    if (md_json_parse(config_json, strlen(config_json), &config, NULL) != MD_OK) {
        config = NULL;
    }
    sample->rolling = true;
    sample->position = -1;
    mark(config, "x_reals", "static_reals", sample->fixed_reals);
    mark(config, "x_categoricals", "static_categoricals", sample->fixed_codes);
    json_array_foreach(json_object_get(config, "x_reals"), column, name)
    {
        if (json_is_string(name) && strcmp(json_string_value(name), "relative_time_idx") == 0) {
            sample->position = (int)column;
        }
    }
    json_decref(config);
}

void md__sample_fini(struct md__sample *sample)
{
    md_tensors_unref(sample->inputs, MD__SAMPLE_PORTS_MAX);
}

int md__sample_batch_symbol(const struct md_graph *graph)
{
    for (int i = 0; i < graph->symbol_count; i++) {
        if (strcasecmp(graph->symbols[i], "batch") == 0 ||
            strcasecmp(graph->symbols[i], "batch_size") == 0) {
            return i;
        }
    }
    return -1;
}

int64_t md__sample_batch(const struct md__sample *sample)
{
    int symbol = md__sample_batch_symbol(sample->graph);

    return symbol >= 0 ? sample->sizes[symbol] : 1;
}

void md__sample_give(struct md__sample *sample)
{
    sample->given = true;
    for (int i = 0; i < sample->graph->input_count; i++) {
        const struct md_shape *shape = &sample->graph->values[sample->graph->inputs[i].value].shape;
        for (int axis = 0; axis < shape->rank; axis++) {
            if (shape->dim[axis] < 0) {
                sample->sizes[-shape->dim[axis] - 2] = sample->inputs[i].shape.dim[axis];
            }
        }
    }
}

enum md_status md__sample_resize(struct md__sample *sample, int64_t batch, struct md_error *err)
{
    int symbol = md__sample_batch_symbol(sample->graph);

    if (sample->given) {
        return MD_OK;
    }
    sample->tick = 0;
    if (symbol >= 0) {
        sample->sizes[symbol] = batch;
    }
    for (int i = 0; i < sample->graph->input_count; i++) {
        const struct md_value *value = &sample->graph->values[sample->graph->inputs[i].value];
        struct md_shape shape = value->shape;
        enum md_status status;
        if (shape.rank == MD_RANK_UNKNOWN) {
            shape.rank = 0;
        }
        for (int axis = 0; axis < shape.rank; axis++) {
            if (shape.dim[axis] < 0) {
                shape.dim[axis] = sample->sizes[-shape.dim[axis] - 2];
            }
        }
        md_tensor_unref(&sample->inputs[i]);
        status = md_tensor_new(value->dtype, &shape, &sample->inputs[i], err);
        if (status != MD_OK) {
            return status;
        }
    }
    return MD_OK;
}

/* xorshift64* (Vigna, "An experimental exploration of Marsaglia's xorshift generators", 2016). */
static uint32_t next_random(struct md__sample *sample)
{
    sample->random ^= sample->random >> 12;
    sample->random ^= sample->random << 25;
    sample->random ^= sample->random >> 27;
    return (uint32_t)((sample->random * 2685821657736338717u) >> 32);
}

/* The size that "<symbol>_lengths" is filled with, 0 for other inputs. */
static int64_t full_length(const struct md__sample *sample, const char *name)
{
    const char *suffix = strstr(name, "_lengths");
    int symbol = suffix != NULL && suffix[8] == '\0'
                     ? find_symbol(sample->graph, name, (size_t)(suffix - name))
                     : -1;

    return symbol >= 0 ? sample->sizes[symbol] : 0;
}

static void fill_bytes(struct md__sample *sample, struct md_tensor *tensor)
{
    unsigned char *bytes = tensor->data;
    size_t size = md_dtype_bytes(tensor->dtype), count = md_tensor_count(tensor);

    memset(bytes, 0, size * count);
    for (size_t i = 0; i < count; i++) {
        bytes[i * size] = (unsigned char)(next_random(sample) & 1); /* little-endian 0 or 1 */
    }
}

/* Every row of the batch gets the first one's known columns. */
static void share_known(const struct md__sample *sample, struct md_tensor *tensor)
{
    size_t width = (size_t)sample->known_width, count = md_tensor_count(tensor);
    float *x = tensor->data;

    if (tensor->shape.rank != 3 || (size_t)tensor->shape.dim[2] != width) {
        return;
    }
    for (size_t i = (size_t)tensor->shape.dim[1] * width; i < count; i++) {
        if (i % width < MD__SAMPLE_KNOWN_MAX && sample->known[i % width]) {
            x[i] = x[i - (size_t)tensor->shape.dim[1] * width];
        }
    }
}

static void fill_tensor(struct md__sample *sample, int k)
{
    struct md_tensor *tensor = &sample->inputs[k];
    int64_t length = full_length(sample, sample->graph->inputs[k].name);
    size_t count = md_tensor_count(tensor);

    if (tensor->dtype == MD_F32) {
        for (size_t i = 0; i < count; i++) {
            ((float *)tensor->data)[i] =
                ((float)next_random(sample) / 4294967296.0f - 0.5f) * 3.4641016f;
        }
        if (sample->known_width > 0) {
            share_known(sample, tensor);
        }
    } else if (tensor->dtype == MD_I64 && length > 0) {
        for (size_t i = 0; i < count; i++) {
            ((int64_t *)tensor->data)[i] = length;
        }
    } else if (tensor->dtype != MD_F64 && tensor->dtype != MD_F16 && tensor->dtype != MD_BF16) {
        fill_bytes(sample, tensor);
    }
}

/*
 * Before new values go in: the steps of every sequence but the first, which leaves. Returns the
 * memory of those that stay, to be put back by put_steps; NULL at the first tick and for inputs
 * that are no sequences.
 */
static char *take_steps(const struct md__sample *sample, const struct md_tensor *tensor)
{
    size_t bytes = md_tensor_bytes(tensor);
    char *kept = sample->tick > 0 && tensor->shape.rank == 3 ? malloc(bytes) : NULL;

    if (kept != NULL) {
        memcpy(kept, tensor->data, bytes);
    }
    return kept;
}

/* Reals are float32 and codes int64, as in x_reals and x_categoricals. */
static bool is_fixed(const struct md__sample *sample, const struct md_tensor *tensor, size_t column)
{
    const bool *fixed = tensor->dtype == MD_F32 ? sample->fixed_reals : sample->fixed_codes;

    return column < MD__SAMPLE_KNOWN_MAX && fixed[column];
}

/* All steps but the last are as they were one further on; fixed columns are as they were. */
static void put_steps(const struct md__sample *sample, struct md_tensor *tensor, const char *kept)
{
    size_t size = md_dtype_bytes(tensor->dtype), width = (size_t)tensor->shape.dim[2];
    size_t steps = (size_t)tensor->shape.dim[1], row = width * size;

    for (size_t b = 0; b < (size_t)tensor->shape.dim[0]; b++) {
        char *to = (char *)tensor->data + b * steps * row;
        const char *from = kept + b * steps * row;
        memcpy(to, from + row, (steps - 1) * row);
        for (size_t c = 0; c < width; c++) {
            if (is_fixed(sample, tensor, c)) {
                memcpy(to + (steps - 1) * row + c * size, from + c * size, size);
            }
        }
    }
}

/* At the first tick: fixed columns are the same at all steps. */
static void spread_fixed(const struct md__sample *sample, struct md_tensor *tensor)
{
    size_t size = md_dtype_bytes(tensor->dtype), width = (size_t)tensor->shape.dim[2];
    size_t sequence = (size_t)tensor->shape.dim[1] * width, count = md_tensor_count(tensor);
    char *data = tensor->data;

    for (size_t i = 0; i < count; i++) {
        if (is_fixed(sample, tensor, i % width)) {
            memcpy(data + i * size, data + (i / sequence * sequence + i % width) * size, size);
        }
    }
}

/* relative_time_idx: steps since the window's end, in windows; the same for all. */
static void set_position(const struct md__sample *sample, struct md_tensor *tensor)
{
    size_t width = (size_t)tensor->shape.dim[2], steps = (size_t)tensor->shape.dim[1];

    if (sample->position < 0 || tensor->dtype != MD_F32 || (size_t)sample->position >= width) {
        return;
    }
    for (size_t i = 0; i < md_tensor_count(tensor) / width; i++) {
        ((float *)tensor->data)[i * width + (size_t)sample->position] =
            (float)(i % steps) / (float)steps - 1;
    }
}

/* One tick of input k. */
static void roll_tensor(struct md__sample *sample, int k)
{
    struct md_tensor *tensor = &sample->inputs[k];
    char *kept = take_steps(sample, tensor);

    fill_tensor(sample, k);
    if (tensor->shape.rank != 3) {
        return;
    }
    if (kept != NULL) {
        put_steps(sample, tensor, kept);
    } else {
        spread_fixed(sample, tensor);
    }
    set_position(sample, tensor);
    free(kept);
}

void md__sample_fill(struct md__sample *sample)
{
    for (int k = 0; k < sample->graph->input_count; k++) {
        if (sample->rolling) {
            roll_tensor(sample, k);
        } else {
            fill_tensor(sample, k);
        }
    }
    sample->tick++;
}

/* Row b of the batch is series b; each tick they begin a step later. */
static enum md_status make_windows(const struct md__sample *sample, struct md_windows *windows,
                                   struct md_error *err)
{
    int64_t count = md__sample_batch(sample);
    struct md_window *each = malloc((size_t)count * sizeof *each);

    if (each == NULL) {
        return md_fail(err, MD_ERR_MEMORY, "out of memory");
    }
    for (int64_t b = 0; b < count; b++) {
        each[b] = (struct md_window){(uint64_t)b, sample->tick};
    }
    *windows = (struct md_windows){each, (int)count, sample->tick};
    return MD_OK;
}

enum md_status md__sample_run(struct md__sample *sample, struct md_executable *executable,
                              int64_t *ns, size_t *port_bytes, struct md_error *err)
{
    struct md_tensor outputs[MD__SAMPLE_PORTS_MAX] = {0};
    const struct md_graph *graph = sample->graph;
    struct md_clock *clock = md_clock_system();
    struct md_windows windows = {0};
    struct md_run_limits limits = {0};
    size_t bytes = 0;
    enum md_status status;
    int64_t begin;

    if (!sample->given) {
        md__sample_fill(sample);
    }
    status = sample->rolling ? make_windows(sample, &windows, err) : MD_OK;
    limits.windows = sample->rolling ? &windows : NULL;
    begin = md_monotonic_ns(clock);
    if (status == MD_OK) {
        status = md_executable_run_within(executable, sample->inputs, graph->input_count, outputs,
                                          graph->output_count, &limits, err);
    }
    *ns = md_monotonic_ns(clock) - begin;
    for (int i = 0; i < graph->input_count; i++) {
        bytes += md_tensor_bytes(&sample->inputs[i]);
    }
    for (int i = 0; i < graph->output_count; i++) {
        bytes += outputs[i].data != NULL ? md_tensor_bytes(&outputs[i]) : 0;
        md_tensor_unref(&outputs[i]);
    }
    if (port_bytes != NULL) {
        *port_bytes = bytes;
    }
    free((void *)(uintptr_t)windows.each);
    return status;
}

json_t *md__sample_sizes_json(const struct md__sample *sample)
{
    json_t *symbols = json_object();

    for (int i = 0; i < sample->graph->symbol_count; i++) {
        json_object_set_new(symbols, sample->graph->symbols[i],
                            json_integer((json_int_t)sample->sizes[i]));
    }
    return symbols;
}

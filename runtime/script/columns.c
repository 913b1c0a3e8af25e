/*
 * Writing columns as objects; see columns.h.
 *
 * Many rows are written in pieces of a few hundred kilobytes, which stay in a core's cache: whoever
 * has written one appends it when its turn has come, or leaves it to the one whose turn it is.
 */
#include "script/columns.h"

#include <math.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/json_out.h"
#include "script/tensor_object.h"

/* So few rows are written alone; others in several pieces for each thread, if there are enough: one
 * that comes late, or falls behind, leaves its own to the others. */
enum { ROWS_ALONE_MAX = 4, ROWS_OF_PIECE_MAX = 12, PIECES_PER_THREAD = 4 };

/* Room for a piece until the first one is there: growing by and by means copying each time. */
enum { PIECE_BYTES = 96 << 10 };

/* ---- one row --------------------------------------------------------------------------------- */

static size_t index_of(const struct md__place *place, size_t row)
{
    return row * place->span + place->offset;
}

static void write_text(const struct md__texts *texts, size_t at, struct md_buffer *out)
{
    if (at >= texts->count) {
        md_buffer_append(out, "null", 4);
        return;
    }
    size_t begin = at > 0 ? texts->ends[at - 1] : 0;
    md_buffer_append(out, texts->data + begin, texts->ends[at] - begin);
}

static void write_choice(const struct md__column *column, size_t index, struct md_buffer *out)
{
    double choice = md__element_get(column->tensor, index);
    bool is_one = choice >= 1 && choice <= (double)column->texts.count;
    write_text(&column->texts, is_one ? (size_t)choice - 1 : SIZE_MAX, out);
}

bool md__columns_present(const struct md__place *place, size_t row)
{
    const struct md_tensor *present = place->columns->present;
    if (present == NULL)
        return true;
    double value = md__element_get(present, index_of(place, row));
    return value != 0 && !isnan(value);
}

static void write_column(const struct md__column *column, int axes, size_t index, int decimals,
                         struct md_buffer *out)
{
    if (column->decimals != MD__DECIMALS_OF_CALLER)
        decimals = column->decimals;
    switch (column->kind) {
    case MD__COLUMN_TENSOR:
        md__tensor_encode(column->tensor, axes, index, decimals, out);
        break;
    case MD__COLUMN_LAZY:
        md__lazy_encode(column->lazy, axes, index, decimals, out);
        break;
    case MD__COLUMN_TEXTS:
        write_text(&column->texts, column->texts.count == 1 ? 0 : index, out);
        break;
    case MD__COLUMN_CHOICE:
        write_choice(column, index, out);
        break;
    case MD__COLUMN_OBJECT:
        md__columns_write(&column->object, index, decimals, out);
        break;
    }
}

void md__columns_write(const struct md__place *place, size_t row, int decimals,
                       struct md_buffer *out)
{
    const struct md__columns *columns = place->columns;
    size_t index = index_of(place, row);
    char before = '{';
    for (int i = 0; i < columns->count; i++) {
        const struct md__column *column = &columns->column[i];
        if (column->kind == MD__COLUMN_OBJECT && !md__columns_present(&column->object, index))
            continue;
        md_buffer_append(out, &before, 1);
        before = ',';
        md_buffer_append(out, columns->keys + column->key_at, column->key_length);
        write_column(column, place->axes, index, decimals, out);
    }
    md_buffer_text(out, before == '{' ? "{}" : "}");
}

/* ---- members --------------------------------------------------------------------------------- */

static int compare_members(const void *left, const void *right)
{
    /* By the names: keys are `"name":`, and a name that another begins with comes first. */
    const struct md__member *a = left, *b = right;
    size_t a_length = a->key_length - 2, b_length = b->key_length - 2;
    int order = memcmp(a->key, b->key, a_length < b_length ? a_length : b_length);
    return order != 0 ? order : a_length < b_length ? -1 : a_length > b_length;
}

/* The first member that is not behind the one before; NULL: there is none. */
static const struct md__member *out_of_order(const struct md__member *members, size_t count)
{
    for (size_t i = 1; i < count; i++)
        if (compare_members(&members[i - 1], &members[i]) >= 0)
            return &members[i];
    return NULL;
}

const struct md__member *md__members_sort(struct md__member *members, size_t count)
{
    if (out_of_order(members, count) == NULL) /* as the names of a fleet come, mostly */
        return NULL;
    qsort(members, count, sizeof *members, compare_members);
    return out_of_order(members, count);
}

/* ---- many rows ------------------------------------------------------------------------------- */

struct piece {
    struct md_buffer text;
    bool done;
};

struct writing {
    const struct md__member *members;
    size_t count;
    int decimals;
    pthread_mutex_t lock; /* guards what follows */
    struct md_buffer *out;
    struct piece *pieces;
    size_t rows_of_piece, piece_count, next; /* next: whose turn it is */
    size_t expected;                         /* bytes of a piece, from those before */
};

static void write_members(const struct writing *writing, size_t begin, size_t end,
                          struct md_buffer *text)
{
    for (size_t i = begin; i < end && i < writing->count; i++) {
        const struct md__member *member = &writing->members[i];
        if (!md__columns_present(&member->place, member->row))
            continue;
        md_buffer_append(text, ",", 1);
        md_buffer_append(text, member->key, member->key_length);
        md__columns_write(&member->place, member->row, writing->decimals, text);
    }
}

/* Room for what is to come, unless that is more than there may be. */
static void expect(struct md_buffer *buffer, size_t bytes)
{
    if (buffer->bytes_max == 0 || buffer->length + bytes <= buffer->bytes_max)
        md_buffer_reserve(buffer, bytes);
}

static void append_in_turn(struct writing *writing)
{
    while (writing->next < writing->piece_count && writing->pieces[writing->next].done) {
        struct md_buffer *text = &writing->pieces[writing->next].text;
        if (writing->next == 0) {
            writing->expected = text->length + text->length / 8;
            expect(writing->out, writing->expected * writing->piece_count);
        }
        if (text->failed != MD_OK && writing->out->failed == MD_OK)
            writing->out->failed = text->failed;
        md_buffer_append(writing->out, text->data, text->length);
        md_buffer_fini(text);
        writing->next++;
    }
}

static void write_pieces(void *context, size_t begin, size_t end, int thread)
{
    struct writing *writing = context;
    (void)thread;
    for (size_t i = begin; i < end; i++) {
        struct piece *piece = &writing->pieces[i];
        pthread_mutex_lock(&writing->lock);
        size_t bytes_max = writing->out->bytes_max, expected = writing->expected;
        pthread_mutex_unlock(&writing->lock);
        md_buffer_init(&piece->text, bytes_max);
        expect(&piece->text, expected);
        write_members(writing, i * writing->rows_of_piece, (i + 1) * writing->rows_of_piece,
                      &piece->text);
        pthread_mutex_lock(&writing->lock);
        piece->done = true;
        append_in_turn(writing);
        pthread_mutex_unlock(&writing->lock);
    }
}

static void write_on_pool(struct writing *writing, struct md_pool *pool)
{
    size_t wanted = (size_t)md_pool_threads(pool) * PIECES_PER_THREAD;
    size_t rows = (writing->count + wanted - 1) / wanted;
    writing->rows_of_piece = rows < ROWS_OF_PIECE_MAX ? rows : ROWS_OF_PIECE_MAX;
    writing->piece_count = (writing->count - 1) / writing->rows_of_piece + 1;
    writing->pieces = calloc(writing->piece_count, sizeof *writing->pieces);
    if (writing->pieces == NULL) {
        write_members(writing, 0, writing->count, writing->out);
        return;
    }
    pthread_mutex_init(&writing->lock, NULL);
    md_pool_run(pool, writing->piece_count, 1, write_pieces, writing);
    pthread_mutex_destroy(&writing->lock);
    free(writing->pieces);
}

void md__columns_write_all(const struct md__member *members, size_t count, int decimals,
                           struct md_pool *pool, struct md_buffer *out)
{
    struct writing writing = {.members = members,
                              .count = count,
                              .decimals = decimals,
                              .out = out,
                              .expected = PIECE_BYTES};
    size_t start = out->length;
    if (pool == NULL || count <= ROWS_ALONE_MAX)
        write_members(&writing, 0, count, out);
    else
        write_on_pool(&writing, pool);
    if (out->length > start)
        out->data[start] = '{'; /* in the place of the first comma */
    else
        md_buffer_append(out, "{", 1);
    md_buffer_append(out, "}", 1);
}

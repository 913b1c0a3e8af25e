/*
 * Packing byte weights, and products block by block: sums (int8_sums.c), then what follows them
 * while they lie in the first-level cache.
 */
#include "kernels/cpu/isa/int8.h"

/* ---- packing --------------------------------------------------------------------------------- */

struct byte_terms byte_terms_of(size_t runs, size_t run)
{
    struct byte_terms terms = {.runs = runs, .run = run};
    terms.chunks = (run + CHUNK_MAX - 1) / CHUNK_MAX;
    terms.chunks = terms.chunks ? terms.chunks : 1;
    terms.chunk = ((run + terms.chunks - 1) / terms.chunks + 3) / 4 * 4;
    terms.chunk = terms.chunk ? terms.chunk : 4;
    return terms;
}

static size_t panels_of(size_t columns)
{
    return (columns + PANEL_COLUMNS - 1) / PANEL_COLUMNS;
}

static size_t panel_bytes_of(const struct byte_terms *terms)
{
    return terms->runs * padded_run(terms) * PANEL_COLUMNS;
}

size_t byte_weights_bytes(const struct byte_terms *terms, size_t columns)
{
    size_t numbers = 2 * PANEL_COLUMNS * sizeof(int32_t);
    return sizeof(struct byte_weights) + panels_of(columns) * (panel_bytes_of(terms) + numbers);
}

/* The signed form of a byte: its highest bit flipped where it is unsigned. */
static int32_t signed_form(uint8_t byte, bool is_signed)
{
    return (int8_t)(is_signed ? byte : byte ^ 0x80);
}

static int32_t zero_of(const struct byte_source *source, size_t column)
{
    size_t which = source->zero_count > 1 ? column : 0;
    return signed_form(source->zeros ? source->zeros[which] : 0, source->is_signed);
}

static void pack_column(const struct byte_source *source, const struct byte_terms *terms,
                        size_t column, int8_t *to, int32_t *sum)
{
    for (size_t run = 0; run < terms->runs; run++, to += padded_run(terms) * PANEL_COLUMNS) {
        const uint8_t *from = source->bytes + column * source->by_column + run * source->by_run;
        size_t outer = 0, inner = 0;
        for (size_t i = 0; i < terms->run; i++) {
            uint8_t byte = from[outer * source->by_outer + inner * source->by_inner];
            int32_t w = signed_form(byte, source->is_signed);
            to[i / 4 * 4 * PANEL_COLUMNS + i % 4] = (int8_t)w;
            *sum += w;
            if (++inner == source->inner) {
                inner = 0;
                outer++;
            }
        }
    }
}

void byte_weights_pack(const struct byte_source *source, const struct byte_terms *terms,
                       size_t columns, struct byte_weights *weights)
{
    *weights = (struct byte_weights){.terms = *terms,
                                     .columns = columns,
                                     .panels = panels_of(columns),
                                     .panel_bytes = panel_bytes_of(terms)};
    for (size_t column = 0; column < columns; column++) {
        int8_t *to = byte_panels(weights) + column / PANEL_COLUMNS * weights->panel_bytes +
                     column % PANEL_COLUMNS * 4;
        pack_column(source, terms, column, to, byte_column_sums(weights) + column);
        byte_zeros(weights)[column] = zero_of(source, column);
        weights->has_zeros |= byte_zeros(weights)[column] != 0;
    }
}

void byte_start(const struct byte_weights *weights, bool is_signed, int32_t x_zero,
                const int32_t *bias, int32_t *start)
{
    const int32_t *sums = byte_column_sums(weights), *zeros = byte_zeros(weights);
    uint32_t terms = (uint32_t)(weights->terms.runs * weights->terms.run);
    uint32_t zero = (uint32_t)x_zero;
    if (is_signed && !byte_summing()->takes_signed)
        zero += 128;
    for (size_t c = 0; c < weights->panels * PANEL_COLUMNS; c++) {
        uint32_t number = zero * (terms * (uint32_t)zeros[c] - (uint32_t)sums[c]);
        if (bias && c < weights->columns)
            number += (uint32_t)bias[c];
        start[c] = (int32_t)number;
    }
}

/* ---- results --------------------------------------------------------------------------------- */

/* Sums of each place's terms, where zero points of weights ask for them. */
static void sum_x(const struct byte_product *product, size_t places, int32_t *sums)
{
    const struct byte_terms *terms = &product->weights->terms;
    bool flips = product->is_signed && !byte_summing()->takes_signed;
    for (size_t i = 0; i < places; i++) {
        uint32_t sum = 0;
        for (size_t run = 0; run < terms->runs; run++) {
            const uint8_t *x =
                product->x + i * product->place + (product->runs ? product->runs[run] : 0);
            for (size_t k = 0; k < terms->run; k++)
                sum += product->is_signed ? (uint32_t)(int8_t)x[k] : x[k];
        }
        sums[i] = (int32_t)(sum + (flips ? 128 * (uint32_t)(terms->runs * terms->run) : 0));
    }
}

INLINE void store_block(const struct byte_product *product, const int32_t *sums, const size_t *at,
                        size_t places, size_t panel, size_t panels, const enum md_dtype dtype)
{
    const struct byte_weights *weights = product->weights;
    const struct byte_result *result = product->result;
    const int32_t *zeros = byte_zeros(weights);
    int32_t x_sums[BLOCK_PLACES] = {0};
    size_t first = panel * PANEL_COLUMNS, end = first + panels * PANEL_COLUMNS;
    end = end < weights->columns ? end : weights->columns;
    if (weights->has_zeros)
        sum_x(product, places, x_sums);
    for (size_t c = first; c < end; c += VL) {
        vi start = vi_load(result->start + c), zero = vi_load(zeros + c);
        for (size_t i = 0; i < places; i++) {
            vi sum = vi_load(sums + i * BLOCK_COLUMNS + c - first) + start;
            if (at[i] == BYTE_SKIPPED)
                continue;
            if (weights->has_zeros)
                sum -= zero * x_sums[i];
            byte_store_vector(result, at[i] + c, c, sum, end - c, dtype);
        }
    }
}

void byte_store(const struct byte_product *product, const int32_t *sums, const size_t *at,
                size_t places, size_t panel, size_t panels)
{
    if (product->result->dtype == MD_I32)
        store_block(product, sums, at, places, panel, panels, MD_I32);
    else if (product->result->dtype == MD_F32)
        store_block(product, sums, at, places, panel, panels, MD_F32);
    else
        store_block(product, sums, at, places, panel, panels, MD_U8);
}

void byte_multiply(const struct byte_product *product, const size_t *at, size_t places,
                   size_t begin, size_t end, struct byte_state *state)
{
    int32_t sums[BLOCK_PLACES * BLOCK_COLUMNS] __attribute__((aligned(64)));
    struct byte_block block = {.x = product->x,
                               .runs = product->runs,
                               .place = product->place,
                               .is_signed = product->is_signed,
                               .weights = product->weights,
                               .sums = sums};
    const struct byte_summing *summing = byte_summing();
    for (size_t panel = begin; panel < end; panel += BLOCK_PANELS) {
        size_t panels = end - panel < BLOCK_PANELS ? end - panel : BLOCK_PANELS;
        block.panel = panel;
        summing->sum(&block, places, panels, state);
        byte_store(product, sums, at, places, panel, panels);
    }
}

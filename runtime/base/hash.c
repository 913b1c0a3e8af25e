/*
 * Eight independent sums, each taking every eighth word: xor, multiply, fold the high half down. A
 * step is a bijection of the word, so a single changed word always shows. The multiplier is 2^64
 * divided by the golden ratio, made odd; the last mix is the finalizer of MurmurHash3 (Appleby,
 * 2011, public domain).
 */
#include "base/hash.h"

#include <link.h>
#include <stdio.h>
#include <string.h>

#define LANES      (MD_HASH_BLOCK / 8)
#define MULTIPLIER 0x9e3779b97f4a7c15u

void md_hash_init(struct md_hash *hash)
{
    *hash = (struct md_hash){0};
    for (uint64_t i = 0; i < LANES; i++)
        hash->lane[i] = (i + 1) * MULTIPLIER;
}

static uint64_t step(uint64_t lane, uint64_t word)
{
    lane = (lane ^ word) * MULTIPLIER;
    return lane ^ (lane >> 32);
}

static void take_blocks(uint64_t *lane, const unsigned char *at, size_t blocks)
{
    uint64_t own[LANES], words[LANES];
    memcpy(own, lane, sizeof own);
    for (; blocks > 0; blocks--, at += MD_HASH_BLOCK) {
        memcpy(words, at, sizeof words);
        for (int i = 0; i < LANES; i++)
            own[i] = step(own[i], words[i]);
    }
    memcpy(lane, own, sizeof own);
}

void md_hash_add(struct md_hash *hash, const void *data, size_t bytes)
{
    const unsigned char *at = data;
    size_t held = hash->bytes % MD_HASH_BLOCK;
    if (bytes == 0)
        return;
    hash->bytes += bytes;
    if (held > 0) {
        size_t more = bytes < MD_HASH_BLOCK - held ? bytes : MD_HASH_BLOCK - held;
        memcpy(hash->held + held, at, more);
        if (held + more < MD_HASH_BLOCK)
            return;
        take_blocks(hash->lane, hash->held, 1);
        at += more;
        bytes -= more;
    }
    take_blocks(hash->lane, at, bytes / MD_HASH_BLOCK);
    memcpy(hash->held, at + bytes / MD_HASH_BLOCK * MD_HASH_BLOCK, bytes % MD_HASH_BLOCK);
}

void md_hash_number(struct md_hash *hash, int64_t number)
{
    md_hash_add(hash, &number, sizeof number);
}

void md_hash_text(struct md_hash *hash, const char *text)
{
    md_hash_number(hash, text ? (int64_t)strlen(text) : -1);
    if (text)
        md_hash_add(hash, text, strlen(text));
}

static uint64_t mixed(uint64_t x)
{
    x = (x ^ (x >> 33)) * 0xff51afd7ed558ccdu;
    x = (x ^ (x >> 33)) * 0xc4ceb9fe1a85ec53u;
    return x ^ (x >> 33);
}

struct md_digest md_hash_end(const struct md_hash *hash)
{
    unsigned char last[MD_HASH_BLOCK] = {0};
    uint64_t lane[LANES];
    struct md_digest digest = {{hash->bytes, ~hash->bytes}};
    memcpy(lane, hash->lane, sizeof lane);
    memcpy(last, hash->held, hash->bytes % MD_HASH_BLOCK);
    take_blocks(lane, last, 1);
    for (int i = 0; i < LANES; i++) {
        digest.word[0] = mixed(digest.word[0] ^ lane[i]);
        digest.word[1] = mixed(digest.word[1] + (lane[i] << 32 | lane[i] >> 32)) + digest.word[0];
    }
    return digest;
}

struct md_digest md_hash_of(const void *data, size_t bytes)
{
    struct md_hash hash;
    md_hash_init(&hash);
    md_hash_add(&hash, data, bytes);
    return md_hash_end(&hash);
}

bool md_digest_equal(struct md_digest a, struct md_digest b)
{
    return a.word[0] == b.word[0] && a.word[1] == b.word[1];
}

void md_digest_text(struct md_digest digest, char text[MD_HASH_TEXT])
{
    snprintf(text, MD_HASH_TEXT, "%016llx%016llx", (unsigned long long)digest.word[0],
             (unsigned long long)digest.word[1]);
}

/* ---- this program ---- */

struct found_id {
    struct md_digest digest;
    bool found;
};

/* ELF notes: sizes of name and content, a type, then both, padded to words. */
static void look_at_notes(const char *at, size_t left, struct found_id *id)
{
    ElfW(Nhdr) note;
    while (left >= sizeof note) {
        memcpy(&note, at, sizeof note);
        size_t name = ((size_t)note.n_namesz + 3) & ~(size_t)3;
        size_t content = ((size_t)note.n_descsz + 3) & ~(size_t)3;
        if (left - sizeof note < name + content)
            return;
        if (note.n_type == NT_GNU_BUILD_ID && note.n_namesz == 4 &&
            memcmp(at + sizeof note, "GNU", 4) == 0) {
            id->digest = md_hash_of(at + sizeof note + name, note.n_descsz);
            id->found = true;
        }
        at += sizeof note + name + content;
        left -= sizeof note + name + content;
    }
}

/* The first object is the program itself; 1 ends the walk. */
static int look_at_program(struct dl_phdr_info *info, size_t size, void *context)
{
    (void)size;
    for (int i = 0; i < info->dlpi_phnum; i++)
        if (info->dlpi_phdr[i].p_type == PT_NOTE)
            look_at_notes((const char *)(info->dlpi_addr + info->dlpi_phdr[i].p_vaddr),
                          info->dlpi_phdr[i].p_memsz, context);
    return 1;
}

bool md_build_id(struct md_digest *id)
{
    struct found_id found = {0};
    dl_iterate_phdr(look_at_program, &found);
    *id = found.digest;
    return found.found;
}

/*
 * A fast hash of 128 bits for content that nobody forges: cache keys and checksums. It is no
 * cryptographic hash. The same bytes give the same digest whatever pieces they come in, on every
 * little-endian machine.
 */
#ifndef MD_BASE_HASH_H
#define MD_BASE_HASH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define MD_HASH_BLOCK 64
#define MD_HASH_TEXT  33 /* characters of a digest in hexadecimal, with the end */

struct md_hash {
    uint64_t lane[MD_HASH_BLOCK / 8];
    unsigned char held[MD_HASH_BLOCK];
    uint64_t bytes;
};

struct md_digest {
    uint64_t word[2];
};

void md_hash_init(struct md_hash *hash);
void md_hash_add(struct md_hash *hash, const void *data, size_t bytes);
void md_hash_number(struct md_hash *hash, int64_t number);
void md_hash_text(struct md_hash *hash, const char *text); /* NULL differs from "" */
struct md_digest md_hash_end(const struct md_hash *hash);
struct md_digest md_hash_of(const void *data, size_t bytes);

bool md_digest_equal(struct md_digest a, struct md_digest b);
void md_digest_text(struct md_digest digest, char text[MD_HASH_TEXT]);

/*
 * The digest of what the linker wrote into this program to tell its builds apart; false when it
 * wrote nothing.
 */
bool md_build_id(struct md_digest *id);

#endif

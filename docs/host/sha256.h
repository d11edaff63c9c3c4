/* SHA-256 (FIPS 180-4), for host.c: of the file, and of a configuration. */
#ifndef NMGEN_SHA256_H
#define NMGEN_SHA256_H

#include <stddef.h>
#include <stdint.h>

struct sha256 {
    uint32_t state[8];
    uint8_t block[64];
    uint64_t bytes;
};

void sha256_begin(struct sha256 *s);
void sha256_add(struct sha256 *s, const void *data, size_t size);
void sha256_end(struct sha256 *s, uint8_t digest[32]);

#endif

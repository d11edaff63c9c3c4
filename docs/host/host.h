/* A host for axi-sta. docs/host.md explains each step; host.py is the same in Python. */
#ifndef NMGEN_HOST_H
#define NMGEN_HOST_H

#include <stddef.h>
#include <stdint.h>

#define NMGEN_SEQUENCES_MAX 64 /* of a program */

enum nmgen_answer {
    NMGEN_OK = 0,
    NMGEN_BAD_FILE = 1,          /* no program of version 1, or damaged */
    NMGEN_OTHER_ACCELERATOR = 2, /* compiled for another configuration or version */
    NMGEN_NO_ROOM = 3,           /* the memory is too small or ends beyond 2^32 - 1, or there are too many sequences */
    NMGEN_BAD_TEXT = 4,          /* too many texts, no token or too many, or an id beyond the vocabulary */
    NMGEN_STOPPED = 5            /* cause and cause_address say why; it is cleared, the next run may begin */
};

struct nmgen_host {
    /* Filled in by the board. */
    uint32_t (*read32)(uint32_t offset); /* of the control registers */
    void (*write32)(uint32_t offset, uint32_t value);
    void (*wait)(void);                  /* while it runs: until the interrupt, or for a while; may be NULL */
    uint8_t *memory;                     /* the accelerator's memory from `base` on, as the processor sees it */
    size_t memory_size;                  /* bytes */
    uint32_t base;                       /* where it begins in the accelerator's addresses: a multiple of 64 */

    /* Filled in by nmgen_load. Addresses are offsets into `memory`. */
    uint32_t image_size, program, instructions;
    uint32_t ids, vocabulary, group;     /* group: M */
    uint32_t query_tokens;               /* of a block of a sequence's queries, all but its last */
    uint32_t sequences;
    struct {
        uint32_t first_token, tokens;
    } sequence[NMGEN_SEQUENCES_MAX];
    struct {
        uint32_t address, pitch, channels;
        double scale;
    } embedding;

    /* Filled in by nmgen_run where it answers NMGEN_STOPPED. */
    uint32_t cause, cause_address;
};

/* Check a .nmp file and that it fits the accelerator, and put its image into memory. */
int nmgen_load(struct nmgen_host *h, const uint8_t *file, size_t size);

/* Run it on texts: lengths[i] token ids at ids[i], special ones included. */
int nmgen_run(struct nmgen_host *h, uint32_t texts, const uint32_t *const *ids, const uint32_t *lengths);

/* After a run: the embedding of a text, embedding.channels values. */
void nmgen_embedding(const struct nmgen_host *h, uint32_t text, float *values);

/* End what runs, and forget an error. */
void nmgen_clear(struct nmgen_host *h);

#endif

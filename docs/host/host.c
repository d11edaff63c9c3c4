#include "host.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "isa.h"
#include "sha256.h"

enum { INSTRUCTION = 4 * NMGEN_INSTRUCTION_WORDS };

/* --- the file ---------------------------------------------------------------------------------------------------- */

struct text {
    const char *begin, *end;
};

/* Behind the first `what` of a text, or NULL. */
static const char *behind(struct text in, const char *what)
{
    size_t size = strlen(what);
    for (const char *at = in.begin; at && (size_t)(in.end - at) >= size; at++)
        if (!memcmp(at, what, size))
            return at + size;
    return NULL;
}

/* A string of the metadata, quotes in it as \" : nothing inside of a string looks like ,"NAME":" */
static struct text part(struct text header, const char *name)
{
    char key[32];
    snprintf(key, sizeof key, ",\"%s\":\"", name);
    struct text found = {behind(header, key), NULL};
    found.end = found.begin;
    while (found.end && found.end < header.end && *found.end != '"')
        found.end += *found.end == '\\' ? 2 : 1;
    return found;
}

/* The number behind `what`: it stands in JSON, so something that is no digit follows. */
static uint32_t number(struct text in, const char *what)
{
    const char *at = behind(in, what);
    return at ? (uint32_t)strtoul(at, NULL, 10) : 0;
}

static int intact(struct text header, const uint8_t *memory, size_t size)
{
    static const char *const parts[] = {"configuration", "address", "names", "regions",  "sequences",
                                        "results",       "notes",   "about", "tokenizer", "shorter"};
    const size_t last = sizeof parts / sizeof *parts - 1;
    struct sha256 s;
    uint8_t digest[32];
    char hex[65];
    sha256_begin(&s);
    for (size_t i = 0; i <= last; i++) {
        struct text text = part(header, parts[i]);
        if (i == last && !text.begin) /* most files have no shorter programs */
            break;
        if (!text.begin || text.end >= header.end)
            return 0;
        sha256_add(&s, parts[i], strlen(parts[i]));
        sha256_add(&s, " ", 1);
        for (const char *at = text.begin; at < text.end; at++) {
            at += *at == '\\'; /* \" is ", \\ is \ : there are no others */
            sha256_add(&s, at, 1);
        }
        sha256_add(&s, "\n", 1);
    }
    sha256_add(&s, memory, size);
    sha256_end(&s, digest);
    for (int i = 0; i < 32; i++)
        snprintf(hex + 2 * i, 3, "%02x", digest[i]);
    struct text wanted = part(header, "sha256");
    return wanted.begin && wanted.end - wanted.begin == 64 && !memcmp(wanted.begin, hex, 64);
}

/* What ID reads in an accelerator of that version and configuration. */
static uint32_t identification(struct text configuration, uint32_t version)
{
    static const char *const sizes[] = {"n",          "m",          "rows",  "cols",   "drain",
                                        "port_bytes", "max_tokens", "max_k", "hidden", "store_words"};
    char text[256], key[32];
    int size = snprintf(text, sizeof text, "nmgen %u.%u.%u {", (unsigned)(version >> 16),
                        (unsigned)(version >> 8 & 255), (unsigned)(version & 255));
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        snprintf(key, sizeof key, "\\\"%s\\\":", sizes[i]);
        size += snprintf(text + size, sizeof text - (size_t)size, "%s'%s': %u", i ? ", " : "", sizes[i],
                         (unsigned)number(configuration, key));
    }
    size += snprintf(text + size, sizeof text - (size_t)size, "}");
    struct sha256 s;
    uint8_t digest[32];
    sha256_begin(&s);
    sha256_add(&s, text, (size_t)size);
    sha256_end(&s, digest);
    return digest[0] | (uint32_t)digest[1] << 8 | (uint32_t)digest[2] << 16 | (uint32_t)digest[3] << 24;
}

/* --- instructions in memory -------------------------------------------------------------------------------------- */

static uint32_t get32(const uint8_t *at)
{
    return at[0] | (uint32_t)at[1] << 8 | (uint32_t)at[2] << 16 | (uint32_t)at[3] << 24;
}

static void put32(uint8_t *at, uint32_t value)
{
    for (int i = 0; i < 4; i++)
        at[i] = (uint8_t)(value >> (8 * i));
}

static uint32_t get(const uint8_t *code, int word, int low, int bits)
{
    return get32(code + 4 * word) >> low & 0xFFFFFFFFu >> (32 - bits);
}

static void set(uint8_t *code, int word, int low, int bits, uint32_t value)
{
    uint32_t mask = 0xFFFFFFFFu >> (32 - bits) << low;
    put32(code + 4 * word, (get32(code + 4 * word) & ~mask) | value << low);
}

#define FIELD(name) NMGEN_FIELD_##name##_WORD, NMGEN_FIELD_##name##_LOW, NMGEN_FIELD_##name##_BITS
#define GET(code, name) get(code, FIELD(name))
#define SET(code, name, value) set(code, FIELD(name), value)

static void relocate(uint8_t *code, uint32_t base)
{
    uint32_t op = GET(code, OPCODE);
    int weights = op == NMGEN_OP_PRODUCT && GET(code, COLUMNS) == NMGEN_COLUMNS_MEMORY;
    if (weights || (op >= NMGEN_OP_GATHER && op <= NMGEN_OP_TABLE) || op == NMGEN_OP_NORM)
        SET(code, ADDRESS, GET(code, ADDRESS) + base);
    if (op == NMGEN_OP_PRODUCT && GET(code, WEIGHT_GROUPS))
        SET(code, PLANES_ADDRESS, GET(code, PLANES_ADDRESS) + base);
    if (op == NMGEN_OP_GATHER)
        SET(code, IDS_ADDRESS, GET(code, IDS_ADDRESS) + base);
}

/* Have an instruction of one sequence see `tokens` tokens of it, `before` of the sequence's before its own. */
static void shorten(uint8_t *code, const struct nmgen_host *h, uint32_t tokens, uint32_t before)
{
    uint32_t op = GET(code, OPCODE), columns = GET(code, COLUMNS);
    uint32_t queries = tokens > before ? tokens - before : 1; /* one beyond the text is not read */
    if (queries > h->query_tokens)
        queries = h->query_tokens;
    if (op == NMGEN_OP_PRODUCT && columns == NMGEN_COLUMNS_KEYS) {
        SET(code, TOKENS, queries);
        SET(code, CHANNELS, tokens);
    } else if (op == NMGEN_OP_PRODUCT && columns == NMGEN_COLUMNS_VALUES) {
        SET(code, TOKENS, queries);
        SET(code, KEYS, tokens);
        SET(code, GROUPS, (tokens + h->group - 1) / h->group);
    } else if (op == NMGEN_OP_POOL) {
        uint32_t shift = 15;
        while (1u << (shift - 15) < tokens)
            shift++;
        SET(code, TOKENS, tokens);
        SET(code, MULT, ((2u << shift) + tokens) / (2 * tokens));
        SET(code, SHIFT, shift);
    }
}

/* --- the accelerator --------------------------------------------------------------------------------------------- */

/* Whether so many bytes lie in the image. */
static int within(const struct nmgen_host *h, uint64_t address, uint64_t bytes)
{
    return address + bytes <= h->image_size;
}

int nmgen_load(struct nmgen_host *h, const uint8_t *file, size_t size)
{
    static const char begins[] = "{\"__metadata__\":{\"format\":\"nmgen-program\",\"version\":\"1\",";
    if (size < 8 || get32(file + 4) || get32(file) > size - 8 || get32(file) < sizeof begins)
        return NMGEN_BAD_FILE;
    const uint8_t *memory = file + 8 + get32(file);
    struct text header = {(const char *)file + 8, (const char *)memory};
    size_t image_size = size - 8 - get32(file);
    if (memcmp(header.begin, begins, sizeof begins - 1) || !intact(header, memory, image_size))
        return NMGEN_BAD_FILE;
    struct text configuration = part(header, "configuration"), results = part(header, "results");
    struct text sequences = part(header, "sequences");
    uint32_t version = h->read32(NMGEN_REGISTER_VERSION);
    if (h->read32(NMGEN_REGISTER_ID) != identification(configuration, version))
        return NMGEN_OTHER_ACCELERATOR;
    if (image_size > h->memory_size || image_size > 0xFFFFFFFFu - h->base)
        return NMGEN_NO_ROOM;

    h->image_size = (uint32_t)image_size;
    h->program = number(header, ",\"address\":\"");
    h->group = number(configuration, "\\\"m\\\":");
    h->ids = number(part(header, "regions"), "[\\\"ids\\\",");
    h->vocabulary = number(part(header, "about"), "\\\"vocabulary\\\":");
    h->query_tokens = number(part(header, "about"), "\\\"query_tokens\\\":");
    results.begin = behind(results, "\\\"name\\\":\\\"embedding\\\"");
    h->embedding.address = number(results, "\\\"address\\\":");
    h->embedding.pitch = number(results, "\\\"pitch\\\":");
    h->embedding.channels = number(results, "\\\"channels\\\":");
    const char *scale = behind(results, "\\\"scale\\\":");
    if (!h->vocabulary || !h->query_tokens || !scale)
        return NMGEN_BAD_FILE; /* a ViT's: it takes patches, and gives logits */
    h->embedding.scale = strtod(scale, NULL);
    h->sequences = 0;
    for (char *at = (char *)sequences.begin + 1; *at == '['; at += at[1] == ',' ? 2 : 1) { /* [[0,3],[4,2]] */
        if (h->sequences == NMGEN_SEQUENCES_MAX)
            return NMGEN_NO_ROOM;
        uint32_t first = (uint32_t)strtoul(at + 1, &at, 10), tokens = (uint32_t)strtoul(at + 1, &at, 10);
        if (!within(h, h->ids + 4 * ((uint64_t)first + tokens), 0))
            return NMGEN_BAD_FILE;
        h->sequence[h->sequences].first_token = first;
        h->sequence[h->sequences++].tokens = tokens;
    }
    if (!within(h, h->embedding.address, (uint64_t)h->embedding.pitch * h->sequences) ||
        2 * (uint64_t)h->embedding.channels > h->embedding.pitch)
        return NMGEN_BAD_FILE;

    memcpy(h->memory, memory, image_size);
    h->instructions = 0;
    for (uint64_t at = h->program; within(h, at, INSTRUCTION); at += INSTRUCTION) {
        if (GET(h->memory + at, OPCODE) == NMGEN_OP_END)
            return NMGEN_OK;
        relocate(h->memory + at, h->base);
        h->instructions++;
    }
    return NMGEN_BAD_FILE;
}

static int place(struct nmgen_host *h, uint32_t texts, const uint32_t *const *ids, const uint32_t *lengths)
{
    if (texts > h->sequences)
        return NMGEN_BAD_TEXT;
    for (uint32_t s = 0; s < h->sequences; s++) {
        uint32_t first = h->sequence[s].first_token, tokens = s < texts ? lengths[s] : 1;
        if (tokens < 1 || tokens > h->sequence[s].tokens)
            return NMGEN_BAD_TEXT;
        for (uint32_t i = 0; i < h->sequence[s].tokens; i++) {
            uint32_t id = s < texts && i < tokens ? ids[s][i] : 0;
            if (id >= h->vocabulary)
                return NMGEN_BAD_TEXT;
            put32(h->memory + h->ids + 4 * (first + i), id);
        }
        for (uint32_t i = 0; i < h->instructions; i++) {
            uint8_t *code = h->memory + h->program + i * INSTRUCTION;
            uint32_t before = GET(code, FIRST_TOKEN) - first;
            if (before < h->sequence[s].tokens)
                shorten(code, h, tokens, before);
        }
    }
    return NMGEN_OK;
}

int nmgen_run(struct nmgen_host *h, uint32_t texts, const uint32_t *const *ids, const uint32_t *lengths)
{
    int answer = place(h, texts, ids, lengths);
    if (answer != NMGEN_OK)
        return answer;
    if (h->read32(NMGEN_REGISTER_STATUS) & (NMGEN_STATUS_BUSY_MASK | NMGEN_STATUS_ERROR_MASK))
        nmgen_clear(h);
    h->write32(NMGEN_REGISTER_PROGRAM, h->base + h->program);
    h->write32(NMGEN_REGISTER_LIMIT, h->base + h->image_size);
    h->write32(NMGEN_REGISTER_INTERRUPT, NMGEN_INTERRUPT_DONE_MASK | NMGEN_INTERRUPT_ERROR_MASK);
    h->write32(NMGEN_REGISTER_CONTROL, NMGEN_CONTROL_START_MASK);
    uint32_t status;
    while ((status = h->read32(NMGEN_REGISTER_STATUS)) & NMGEN_STATUS_BUSY_MASK)
        if (h->wait)
            h->wait();
    if (status & NMGEN_STATUS_ERROR_MASK) {
        h->cause = h->read32(NMGEN_REGISTER_CAUSE);
        h->cause_address = h->read32(NMGEN_REGISTER_CAUSE_ADDRESS);
        nmgen_clear(h);
        return NMGEN_STOPPED;
    }
    return status & NMGEN_STATUS_DONE_MASK ? NMGEN_OK : NMGEN_STOPPED; /* neither: somebody else wrote a clear */
}

void nmgen_clear(struct nmgen_host *h)
{
    h->write32(NMGEN_REGISTER_CONTROL, NMGEN_CONTROL_CLEAR_MASK);
    while (h->read32(NMGEN_REGISTER_STATUS) & NMGEN_STATUS_BUSY_MASK)
        ;
}

void nmgen_embedding(const struct nmgen_host *h, uint32_t text, float *values)
{
    const uint8_t *at = h->memory + h->embedding.address + text * h->embedding.pitch;
    for (uint32_t i = 0; i < h->embedding.channels; i++)
        values[i] = (float)((int16_t)(at[2 * i] | at[2 * i + 1] << 8) * h->embedding.scale);
}

/* A small LZ77 compressor with hash chains; the input is text, records or noise. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SIZE = 1 << 20, WINDOW = 1 << 15, HASHES = 1 << 15 };
static uint8_t input[SIZE], output[SIZE * 2];
static int head[HASHES], chain[SIZE];

static uint32_t hash_of(const uint8_t *p) { return ((p[0] << 10) ^ (p[1] << 5) ^ p[2]) & (HASHES - 1); }

static int match_length(const uint8_t *a, const uint8_t *b, int most) {
    int n = 0;
    while (n < most && a[n] == b[n]) n++;
    return n;
}

static int find_match(int at, int *distance) {
    int best = 0, tries = 32;
    for (int from = head[hash_of(input + at)]; from >= 0 && at - from < WINDOW && tries--; from = chain[from]) {
        int most = SIZE - at < 258 ? SIZE - at : 258;
        int length = match_length(input + from, input + at, most);
        if (length > best) best = length, *distance = at - from;
    }
    return best;
}

static int put_literal(int out, uint8_t value) { output[out++] = 0; output[out++] = value; return out; }

static int compress_block(void) {
    int out = 0;
    memset(head, -1, sizeof head);
    for (int at = 0; at < SIZE - 3;) {
        int distance = 0, length = find_match(at, &distance), step = length > 3 ? length : 1;
        if (length > 3) { output[out++] = (uint8_t)length; output[out++] = (uint8_t)distance; }
        else out = put_literal(out, input[at]);
        for (int i = 0; i < step && at < SIZE - 3; i++, at++) {
            uint32_t h = hash_of(input + at);
            chain[at] = head[h];
            head[h] = at;
        }
    }
    return out;
}

int main(int argc, char **argv) {
    int kind = argc > 1 ? atoi(argv[1]) : 0;
    uint32_t state = 7;
    static const char *words[] = {"power ", "node ", "energy ", "watts ", "idle ", "load "};
    for (int i = 0; i < SIZE;) {
        state = state * 1664525 + 1013904223;
        if (kind == 2) { input[i++] = state >> 24; continue; }
        const char *word = words[(state >> 24) % 6];
        for (int k = 0; word[k] && i < SIZE; k++) input[i++] = word[k];
        if (kind == 1 && i < SIZE - 9) i += sprintf((char *)input + i, "%u,", state >> 20);
    }
    volatile int sink = 0;
    for (;;) sink += compress_block();
}

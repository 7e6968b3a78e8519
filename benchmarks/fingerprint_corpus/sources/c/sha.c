/* SHA-256 written out; the input is the length of a message. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static uint32_t rounds[64];
static uint32_t rotate(uint32_t x, int n) { return (x >> n) | (x << (32 - n)); }

static void transform(uint32_t *state, const uint8_t *block) {
    uint32_t w[64], s[8];
    for (int i = 0; i < 16; i++)
        w[i] = (uint32_t)block[i * 4] << 24 | block[i * 4 + 1] << 16 | block[i * 4 + 2] << 8 | block[i * 4 + 3];
    for (int i = 16; i < 64; i++)
        w[i] = w[i - 16] + (rotate(w[i - 15], 7) ^ rotate(w[i - 15], 18) ^ (w[i - 15] >> 3)) + w[i - 7] +
               (rotate(w[i - 2], 17) ^ rotate(w[i - 2], 19) ^ (w[i - 2] >> 10));
    memcpy(s, state, sizeof s);
    for (int i = 0; i < 64; i++) {
        uint32_t t1 = s[7] + (rotate(s[4], 6) ^ rotate(s[4], 11) ^ rotate(s[4], 25)) + ((s[4] & s[5]) ^ (~s[4] & s[6])) +
                      rounds[i] + w[i];
        uint32_t t2 = (rotate(s[0], 2) ^ rotate(s[0], 13) ^ rotate(s[0], 22)) +
                      ((s[0] & s[1]) ^ (s[0] & s[2]) ^ (s[1] & s[2]));
        memmove(s + 1, s, 7 * sizeof *s);
        s[4] += t1;
        s[0] = t1 + t2;
    }
    for (int i = 0; i < 8; i++) state[i] += s[i];
}

static void digest(const uint8_t *data, size_t length, uint32_t *state) {
    for (int i = 0; i < 8; i++) state[i] = 0x6a09e667u * (i + 1);
    for (size_t at = 0; at + 64 <= length; at += 64) transform(state, data + at);
}

int main(int argc, char **argv) {
    static const size_t lengths[] = {128, 4096, 1 << 20};
    size_t length = lengths[argc > 1 ? atoi(argv[1]) : 0];
    uint8_t *data = calloc(1, length);
    uint32_t state[8];
    for (int i = 0; i < 64; i++) rounds[i] = 0x428a2f98u * (i + 3);
    for (;;) {
        digest(data, length, state);
        data[0] ^= (uint8_t)state[0];
    }
}

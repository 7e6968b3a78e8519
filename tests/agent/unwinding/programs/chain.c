/* A known chain of calls, main -> alpha -> beta -> gamma -> delta -> epsilon, that spends its time at its end. */
#include <stdlib.h>

#define OWN_FRAME __attribute__((noinline, noclone))

static volatile unsigned long sink;

/* A leaf without a frame of its own. */
OWN_FRAME unsigned long epsilon(unsigned long x) { return x * 2862933555777941757UL + 3037000493UL; }

OWN_FRAME unsigned long delta(unsigned long x) {
  unsigned char local[64];
  for (int i = 0; i < 2000; i++) {
    x = epsilon(x) ^ (x >> 7);
    local[x & 63] = (unsigned char)x;
  }
  sink = local[x & 63];
  return x + 1;
}

OWN_FRAME unsigned long gamma_(unsigned long x) {
  unsigned long a = x ^ 5, b = x + 9;
  for (int i = 0; i < 3; i++) a = delta(a + b) + b;
  return a + b;
}

OWN_FRAME unsigned long beta(unsigned long x) { return gamma_(x + 1) * 3 + x; }

OWN_FRAME unsigned long alpha(unsigned long x, int size) {
  /* A frame whose size is known at run time only. */
  volatile char *room = __builtin_alloca((size_t)size);
  room[0] = (char)x;
  return beta(x) + (unsigned long)room[0];
}

int main(int argc, char **argv) {
  unsigned long x = (unsigned long)argc;
  int size = argc > 1 ? atoi(argv[1]) : 48;
  for (;;) x = alpha(x, size);
}

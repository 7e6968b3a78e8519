/* descend calls itself DEPTH times before it works: main -> descend * DEPTH -> work. */
#include <stdlib.h>

#ifndef DEPTH
#define DEPTH 100
#endif

static volatile unsigned long sink;

__attribute__((noinline, noclone)) unsigned long work(unsigned long x) {
  for (int i = 0; i < 20000; i++) x = x * 6364136223846793005UL + 1442695040888963407UL;
  sink = x;
  return x + 1;
}

__attribute__((noinline, noclone)) unsigned long descend(int depth, unsigned long x) {
  if (depth == 0) return work(x) + 1;
  return descend(depth - 1, x + 1) * 3 + x;
}

int main(void) {
  unsigned long x = 1;
  for (;;) x = descend(DEPTH - 1, x);
}

/* A busy program that says what interruptions cost it.
 *
 * It walks 128 KiB again and again and takes its own CPU time after each walk (some 10 us). A walk that a sample
 * falls into takes longer; most walks are not hit, so their median is the time without interruptions. Each half
 * second of CPU time it prints: the share of CPU time above the median, the median in nanoseconds, the walks.
 */
#define _GNU_SOURCE
#include <stdio.h>
#include <string.h>
#include <time.h>

enum { WORDS = 16384, BIN_NS = 20, BINS = 50000 };

static unsigned long words[WORDS];
static unsigned bins[BINS];

static long long now_ns(void) {
  struct timespec t;
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
  return t.tv_sec * 1000000000LL + t.tv_nsec;
}

int main(void) {
  unsigned long sum = 1;
  for (;;) {
    long long begin = now_ns(), last = begin, walks = 0;
    memset(bins, 0, sizeof bins);
    while (last - begin < 500000000LL) {
      for (int i = 0; i < WORDS; i++) {
        sum = sum * 6364136223846793005UL + words[i];
        words[i] = sum;
      }
      long long now = now_ns();
      long long bin = (now - last) / BIN_NS;
      bins[bin < BINS ? bin : BINS - 1]++;
      walks++;
      last = now;
    }
    long long seen = 0, bin = 0;
    while ((seen += bins[bin]) < walks / 2) bin++;
    double median = (bin + 0.5) * BIN_NS;
    printf("%.6f %.0f %lld\n", (double)(last - begin) / walks / median - 1, median, walks);
    fflush(stdout);
  }
}

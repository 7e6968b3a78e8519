/* 120 threads, a few of them busy at a time: thread_main -> alpha -> work. */
#include <pthread.h>
#include <unistd.h>

#define OWN_FRAME __attribute__((noinline, noclone))

static volatile unsigned long sink;

OWN_FRAME unsigned long work(unsigned long x) {
  for (int i = 0; i < 300000; i++) x = x * 6364136223846793005UL + 1442695040888963407UL;
  sink = x;
  return x + 1;
}

OWN_FRAME unsigned long alpha(unsigned long x) { return work(x) * 3 + 1; }

OWN_FRAME void *thread_main(void *number) {
  for (unsigned long x = (unsigned long)number;; usleep(200000)) x = alpha(x);
  return 0;
}

int main(void) {
  pthread_t thread;
  for (unsigned long number = 0; number < 120; number++) pthread_create(&thread, 0, thread_main, (void *)number);
  pthread_join(thread, 0);
}

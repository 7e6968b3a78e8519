/* The time goes into a signal handler: main -> alpha -> beta, interrupted, -> on_signal -> inside. */
#include <signal.h>
#include <sys/time.h>

#define OWN_FRAME __attribute__((noinline, noclone))

static volatile unsigned long sink;

OWN_FRAME unsigned long inside(unsigned long x) {
  for (int i = 0; i < 5000000; i++) x = x * 6364136223846793005UL + 1442695040888963407UL;
  sink = x;
  return x + 1;
}

OWN_FRAME void on_signal(int number) { sink = inside((unsigned long)number) + sink; }

OWN_FRAME unsigned long beta(unsigned long x) {
  for (int i = 0; i < 1000; i++) x += sink * 3;
  return x;
}

OWN_FRAME unsigned long alpha(unsigned long x) { return beta(x + 1) * 3 + x; }

int main(void) {
  struct sigaction action = {.sa_handler = on_signal};
  sigaction(SIGALRM, &action, 0);
  struct itimerval every = {{0, 9000}, {0, 9000}};
  setitimer(ITIMER_REAL, &every, 0);
  unsigned long x = 1;
  for (;;) x = alpha(x);
}

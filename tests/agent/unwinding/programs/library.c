/* Loaded by host.c with dlopen; calls back into it. */
typedef unsigned long (*callback)(unsigned long);

__attribute__((noinline, noclone)) unsigned long library_step(unsigned long x) { return (x ^ (x >> 3)) * 2654435761UL; }

unsigned long library_outer(callback back, unsigned long x) {
  for (int i = 0; i < 300; i++) x = library_step(x);
  return back(x) + 1;
}

/* main -> alpha -> library_outer (dlopen) -> back -> through the PLT into libc's rand_r. */
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>

#define OWN_FRAME __attribute__((noinline, noclone))

typedef unsigned long (*callback)(unsigned long);
static unsigned long (*outer)(callback, unsigned long);
static unsigned int seed;

OWN_FRAME unsigned long back(unsigned long x) {
  for (int i = 0; i < 300; i++) x += (unsigned long)rand_r(&seed);
  return x + 1;
}

OWN_FRAME unsigned long alpha(unsigned long x) { return outer(back, x) * 3 + 1; }

int main(int argc, char **argv) {
  void *library = argc > 1 ? dlopen(argv[1], RTLD_NOW) : 0;
  if (!library) return fprintf(stderr, "give the library: %s\n", dlerror()), 2;
  outer = (unsigned long (*)(callback, unsigned long))dlsym(library, "library_outer");
  unsigned long x = 1;
  for (;;) x = alpha(x);
}

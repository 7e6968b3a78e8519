/* qsort of records with a comparison of strings; the input is how many. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct record { char name[24]; int value; };

static int by_name(const void *a, const void *b) {
    return strcmp(((const struct record *)a)->name, ((const struct record *)b)->name);
}

static void shuffle(struct record *all, int n, unsigned seed) {
    srand(seed);
    for (int i = 0; i < n; i++) {
        snprintf(all[i].name, sizeof all[i].name, "node-%08x", (unsigned)rand());
        all[i].value = i;
    }
}

int main(int argc, char **argv) {
    static const int counts[] = {2000, 20000, 200000};
    int n = counts[argc > 1 ? atoi(argv[1]) : 0];
    struct record *all = malloc(sizeof *all * n);
    for (unsigned round = 0;; round++) {
        shuffle(all, n, round);
        qsort(all, n, sizeof *all, by_name);
    }
}

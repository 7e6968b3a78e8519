/* Dense matrix product; the input is the size. */
#include <stdio.h>
#include <stdlib.h>

static void fill(double *m, int n, int seed) {
    for (int i = 0; i < n * n; i++) m[i] = (double)((i * 31 + seed) % 97);
}

static void multiply(const double *a, const double *b, double *c, int n) {
    for (int i = 0; i < n; i++)
        for (int j = 0; j < n; j++) {
            double sum = 0;
            for (int k = 0; k < n; k++) sum += a[i * n + k] * b[k * n + j];
            c[i * n + j] = sum;
        }
}

int main(int argc, char **argv) {
    static const int sizes[] = {64, 160, 320};
    int n = sizes[argc > 1 ? atoi(argv[1]) : 0];
    double *a = malloc(8 * n * n), *b = malloc(8 * n * n), *c = malloc(8 * n * n);
    volatile double sink = 0;
    for (int round = 0;; round++) {
        fill(a, n, round);
        fill(b, n, round + 1);
        multiply(a, b, c, n);
        sink += c[n];
    }
}

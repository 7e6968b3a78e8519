/* Bodies that attract each other; the input is how many. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

struct body { double x, y, z, vx, vy, vz, mass; };

static void attract(struct body *all, int n, double dt) {
    for (int i = 0; i < n; i++)
        for (int j = i + 1; j < n; j++) {
            double dx = all[i].x - all[j].x, dy = all[i].y - all[j].y, dz = all[i].z - all[j].z;
            double near = dx * dx + dy * dy + dz * dz + 1e-6, pull = dt / (near * sqrt(near));
            all[i].vx -= dx * all[j].mass * pull; all[j].vx += dx * all[i].mass * pull;
            all[i].vy -= dy * all[j].mass * pull; all[j].vy += dy * all[i].mass * pull;
            all[i].vz -= dz * all[j].mass * pull; all[j].vz += dz * all[i].mass * pull;
        }
}

static void drift(struct body *all, int n, double dt) {
    for (int i = 0; i < n; i++) {
        all[i].x += dt * all[i].vx; all[i].y += dt * all[i].vy; all[i].z += dt * all[i].vz;
    }
}

static double energy_of(const struct body *all, int n) {
    double sum = 0;
    for (int i = 0; i < n; i++) sum += pow(all[i].vx, 2) + pow(all[i].vy, 2) + exp(-fabs(sin(all[i].z)));
    return sum;
}

int main(int argc, char **argv) {
    static const int counts[] = {5, 40, 300};
    int n = counts[argc > 1 ? atoi(argv[1]) : 0];
    struct body *all = calloc(n, sizeof *all);
    for (int i = 0; i < n; i++) all[i] = (struct body){i, i * 0.5, n - i, 0, 0.1, 0, 1};
    volatile double sink = 0;
    for (;;) {
        attract(all, n, 1e-3);
        drift(all, n, 1e-3);
        sink += energy_of(all, n);
    }
}

/* A FAKE libnvidia-ml.so for tests, never shipped: two GPUs with the idle
 * figures of mocknvml's H100 profile (600000 mJ at first, 34 degrees), the
 * second in MIG mode and without an energy counter. Each look at the first
 * adds 140000 mJ. Return codes as in nvml.h: 0 success, 3 not supported. */
#include <stdio.h>
#include <string.h>

typedef struct { int index; } gpu;
static gpu gpus[2] = {{0}, {1}};
static unsigned long long energy_mj = 600000;

int nvmlInit_v2(void) { return 0; }
int nvmlShutdown(void) { return 0; }
int nvmlDeviceGetCount_v2(unsigned int *count) { *count = 2; return 0; }
int nvmlDeviceGetHandleByIndex_v2(unsigned int index, gpu **device) {
    if (index > 1) return 2;
    *device = &gpus[index];
    return 0;
}
int nvmlDeviceGetUUID(gpu *device, char *uuid, unsigned int length) {
    snprintf(uuid, length, "GPU-01000100-0000-0000-0000-00000000000%d", device->index);
    return 0;
}
int nvmlDeviceGetMigMode(gpu *device, unsigned int *current, unsigned int *pending) {
    *current = *pending = device->index == 1;
    return 0;
}
int nvmlDeviceGetTotalEnergyConsumption(gpu *device, unsigned long long *energy) {
    if (device->index == 1) return 3;
    *energy = energy_mj;
    energy_mj += 140000;
    return 0;
}
int nvmlDeviceGetPowerUsage(gpu *device, unsigned int *milliwatts) {
    (void)device;
    *milliwatts = 72000;
    return 0;
}
int nvmlDeviceGetTemperature(gpu *device, int sensor, unsigned int *celsius) {
    (void)device;
    (void)sensor;
    *celsius = 34;
    return 0;
}

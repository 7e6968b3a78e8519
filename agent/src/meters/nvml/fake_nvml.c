/* A FAKE libnvidia-ml.so for tests, never shipped. It answers what the file
 * fake_nvml.txt beside it says at the moment of the call. A line each, about
 * the last GPU named:
 *
 *   gpu UUID
 *   energy MILLIJOULES STEP        the counter; each look adds STEP
 *   power MILLIWATTS
 *   temperature CELSIUS
 *   mig INSTANCES                  under MIG, cut into so many at most
 *   instance UUID GI CI SLICES NAME
 *   compute PID BYTES [GI CI]      a process, on an instance with GI and CI
 *   graphics PID BYTES
 *   sample PID AGE_MS PERCENT      of utilisation, so old at the call; below
 *                                  0 it is of the time to come
 *   fails FUNCTION CODE            of all GPUs
 *
 * What is not said is not supported, as on a GPU without it. Codes as in
 * nvml.h: 0 success, 2 wrong argument, 3 not supported, 6 not found, 7 too
 * small, 999 unknown. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

enum { OK, WRONG = 2, NOT_SUPPORTED = 3, NOT_FOUND = 6, TOO_SMALL = 7, UNKNOWN = 999 };
enum { GPUS = 16, INSTANCES = 8, PROCESSES = 600, ANY = -1, NONE = 0xFFFFFFFF };

typedef struct { int gpu, instance; } device;
typedef struct { unsigned pid; unsigned long long bytes; unsigned gi, ci; } process;
typedef struct { unsigned pid; unsigned long long micros; unsigned sm, memory, encoder, decoder; } sample;
typedef struct { char uuid[96], name[96]; unsigned gi, ci, slices; } instance;
typedef struct {
    char uuid[96];
    long long energy, step, power, temperature, mig;
    int instances, computes, graphics, samples;
    instance instance[INSTANCES];
    process compute[PROCESSES], graphic[PROCESSES];
    sample sample[PROCESSES];
} gpu;

static gpu said[GPUS];
static int count;
static device handles[GPUS][INSTANCES + 1];
static unsigned long long looks[GPUS];

/* Reads the file; the code with which a function is to fail, else 0. */
static int read_file(const char *function) {
    Dl_info self;
    char path[4096], line[512], name[128];
    int code = OK, value;
    count = 0;
    if (!dladdr((void *)read_file, &self)) return UNKNOWN;
    snprintf(path, sizeof path - 32, "%s", self.dli_fname);
    char *end = strrchr(path, '/');
    strcpy(end ? end + 1 : path, "fake_nvml.txt");
    FILE *file = fopen(path, "r");
    if (!file) return UNKNOWN;
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    gpu *it = NULL;
    while (fgets(line, sizeof line, file)) {
        if (!strncmp(line, "gpu ", 4) && count < GPUS) {
            it = &said[count++];
            memset(it, 0, sizeof *it);
            it->energy = it->power = it->temperature = it->mig = -1;
            sscanf(line, "gpu %95s", it->uuid);
        }
        if (sscanf(line, "fails %127s %d", name, &value) == 2 && !strcmp(name, function)) code = value;
        if (!it) continue;
        sscanf(line, "energy %lld %lld", &it->energy, &it->step);
        sscanf(line, "power %lld", &it->power);
        sscanf(line, "temperature %lld", &it->temperature);
        sscanf(line, "mig %lld", &it->mig);
        if (it->instances < INSTANCES) {
            instance *one = &it->instance[it->instances];
            if (sscanf(line, "instance %95s %u %u %u %95[^\n]", one->uuid, &one->gi, &one->ci, &one->slices,
                       one->name) == 5)
                it->instances++;
        }
        if (it->computes < PROCESSES) {
            process *one = &it->compute[it->computes];
            one->gi = one->ci = NONE;
            if (sscanf(line, "compute %u %llu %u %u", &one->pid, &one->bytes, &one->gi, &one->ci) >= 2) it->computes++;
        }
        if (it->graphics < PROCESSES) {
            process *one = &it->graphic[it->graphics];
            one->gi = one->ci = NONE;
            if (sscanf(line, "graphics %u %llu", &one->pid, &one->bytes) == 2) it->graphics++;
        }
        if (it->samples < PROCESSES) {
            sample *one = &it->sample[it->samples];
            long long age;
            if (sscanf(line, "sample %u %lld %u", &one->pid, &age, &one->sm) == 3) {
                one->micros = now.tv_sec * 1000000ull + now.tv_nsec / 1000 - age * 1000;
                it->samples++;
            }
        }
    }
    fclose(file);
    return code;
}

/* Reads the file and looks the device up; returns from the function on failure. */
#define OF(device_, gpu_)                                   \
    int code_ = read_file(__func__);                        \
    if (code_) return code_;                                \
    if (!device_ || device_->gpu >= count) return WRONG;    \
    gpu *gpu_ = &said[device_->gpu]

static device *handle(int gpu, int instance) {
    handles[gpu][instance + 1] = (device){gpu, instance};
    return &handles[gpu][instance + 1];
}

static int copy(char *to, unsigned length, const char *from) {
    return snprintf(to, length, "%s", from) < (int)length ? OK : TOO_SMALL;
}

static int number(long long value, unsigned *to) {
    if (value < 0) return NOT_SUPPORTED;
    *to = (unsigned)value;
    return OK;
}

int nvmlInit_v2(void) { return OK; }
int nvmlShutdown(void) { return OK; }

int nvmlDeviceGetCount_v2(unsigned *number_of) {
    int code = read_file(__func__);
    *number_of = count;
    return code;
}

int nvmlDeviceGetHandleByIndex_v2(unsigned index, device **found) {
    int code = read_file(__func__);
    if (code) return code;
    if (index >= (unsigned)count) return WRONG;
    *found = handle(index, ANY);
    return OK;
}

int nvmlDeviceGetUUID(device *it, char *uuid, unsigned length) {
    OF(it, gpu);
    return copy(uuid, length, it->instance == ANY ? gpu->uuid : gpu->instance[it->instance].uuid);
}

int nvmlDeviceGetName(device *it, char *name, unsigned length) {
    OF(it, gpu);
    return copy(name, length, it->instance == ANY ? "a GPU" : gpu->instance[it->instance].name);
}

int nvmlDeviceGetTotalEnergyConsumption(device *it, unsigned long long *energy) {
    OF(it, gpu);
    if (gpu->energy < 0) return NOT_SUPPORTED;
    *energy = gpu->energy + gpu->step * looks[it->gpu]++;
    return OK;
}

int nvmlDeviceGetPowerUsage(device *it, unsigned *milliwatts) {
    OF(it, gpu);
    return number(gpu->power, milliwatts);
}

int nvmlDeviceGetTemperature(device *it, int sensor, unsigned *celsius) {
    (void)sensor;
    OF(it, gpu);
    return number(gpu->temperature, celsius);
}

int nvmlDeviceGetMigMode(device *it, unsigned *current, unsigned *pending) {
    OF(it, gpu);
    /* "mig 0" is a GPU that could be under MIG and is not. */
    if (gpu->mig < 0) return NOT_SUPPORTED;
    *current = *pending = gpu->mig > 0;
    return OK;
}

int nvmlDeviceGetMaxMigDeviceCount(device *it, unsigned *most) {
    OF(it, gpu);
    return number(gpu->mig, most);
}

int nvmlDeviceGetMigDeviceHandleByIndex(device *it, unsigned index, device **found) {
    OF(it, gpu);
    if (index >= (unsigned)gpu->instances) return NOT_FOUND;
    *found = handle(it->gpu, index);
    return OK;
}

typedef struct {
    unsigned multiprocessors, copy, decoder, encoder, jpeg, ofa, gpu_slices, compute_slices;
    unsigned long long memory_mb;
} attributes;

int nvmlDeviceGetAttributes_v2(device *it, attributes *about) {
    OF(it, gpu);
    if (it->instance == ANY) return NOT_SUPPORTED;
    memset(about, 0, sizeof *about);
    about->gpu_slices = about->compute_slices = gpu->instance[it->instance].slices;
    return OK;
}

/* Of a board under MIG all, as a privileged caller sees them; of an instance its own. */
static int processes(device *it, gpu *gpu, process *all, int number_of, unsigned *room, process *infos) {
    int found = 0;
    process kept[PROCESSES];
    for (int i = 0; i < number_of; i++) {
        instance *mine = it->instance == ANY ? NULL : &gpu->instance[it->instance];
        if (!mine || (all[i].gi == mine->gi && all[i].ci == mine->ci)) kept[found++] = all[i];
    }
    unsigned had = *room;
    *room = found;
    if (found && (!infos || had < (unsigned)found)) return TOO_SMALL;
    if (found) memcpy(infos, kept, found * sizeof *kept);
    return OK;
}

int nvmlDeviceGetComputeRunningProcesses_v3(device *it, unsigned *room, process *infos) {
    OF(it, gpu);
    return processes(it, gpu, gpu->compute, gpu->computes, room, infos);
}

int nvmlDeviceGetGraphicsRunningProcesses_v3(device *it, unsigned *room, process *infos) {
    OF(it, gpu);
    if (gpu->mig > 0) return NOT_SUPPORTED;
    return processes(it, gpu, gpu->graphic, gpu->graphics, room, infos);
}

int nvmlDeviceGetProcessUtilization(device *it, sample *samples, unsigned *room, unsigned long long since) {
    OF(it, gpu);
    if (gpu->mig > 0) return NOT_SUPPORTED;
    int found = 0;
    sample kept[PROCESSES];
    for (int i = 0; i < gpu->samples; i++)
        if (gpu->sample[i].micros > since) kept[found++] = gpu->sample[i];
    unsigned had = *room;
    *room = found;
    if (!found) return NOT_FOUND;
    if (!samples || had < (unsigned)found) return TOO_SMALL;
    memcpy(samples, kept, found * sizeof *kept);
    return OK;
}

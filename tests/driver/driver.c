/* What would a driver say?  Two GPUs that have the host's memory and run no kernel themselves: whoever listens is told.
 *
 * It has the functions that Numba and cuda.core call on the way to a launch, and none besides.  Whoever asks for another one
 * hears that there is none.
 */
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { OK = 0, INVALID_VALUE = 1, OUT_OF_MEMORY = 2, INVALID_DEVICE = 101, INVALID_CONTEXT = 201, NOT_FOUND = 500, LAUNCH_FAILED = 719 };
enum { GPUS = 2, DEEPEST = 64, NAMES = 1 << 20, ALIGNMENT = 512, MOST_SHARED_BYTES = 48 * 1024 };
enum { THREADS_PER_BLOCK = 1, SHARED_BYTES_PER_BLOCK = 8, WARP_SIZE = 10, PROCESSORS = 16, MAJOR = 75, MINOR = 76 };

typedef struct { int gpu; } Context;
typedef struct { char name[4096]; } Kernel;
typedef struct Memory { char *place; size_t size; int gpu; struct Memory *next; } Memory;
typedef int (*Listener)(const char *kernel, unsigned blocks, unsigned lanes, unsigned shared_bytes, void *stream, int gpu,
                        void **parameters);

static Context primary[GPUS] = {{0}, {1}};
static __thread Context *stack[DEEPEST];  /* each thread has contexts of its own */
static __thread int depth;
static Memory *memories;
static Listener listener;
static char called[NAMES];

/* For the tests. */

void double_listen(Listener heard) { listener = heard; }

/* Give the names of the functions that were called since the last time. */
const char *double_called(void) {
    static char before[NAMES];
    memcpy(before, called, NAMES);
    called[0] = 0;
    return before;
}

/* Give the GPU where an address lies, or -1. */
int double_gpu_of(uint64_t address) {
    for (Memory *memory = memories; memory; memory = memory->next)
        if (address >= (uint64_t)memory->place && address < (uint64_t)memory->place + memory->size) return memory->gpu;
    return -1;
}

/* For the driver's guests. */

static void note(const char *function) {
    size_t length = strlen(called);
    snprintf(called + length, NAMES - length, "%s ", function);
}
#define NOTE note(__func__ + strlen("double_"))
#define IN_CONTEXT NOTE; if (!depth || !stack[depth - 1]) return INVALID_CONTEXT

/* Tell whether bytes lie within one piece of a GPU's memory. */
static int is_memory(uint64_t address, size_t size) {
    for (Memory *memory = memories; memory; memory = memory->next)
        if (address >= (uint64_t)memory->place && address + size <= (uint64_t)memory->place + memory->size) return 1;
    return size == 0;
}

static int double_cuInit(unsigned flags) { NOTE; return flags ? INVALID_VALUE : OK; }
static int double_cuDriverGetVersion(int *version) { NOTE; *version = 13000; return OK; }
static int double_cuDeviceGetCount(int *count) { NOTE; *count = GPUS; return OK; }
static int double_cuDeviceGet(int *gpu, int number) {
    NOTE;
    *gpu = number;
    return number >= 0 && number < GPUS ? OK : INVALID_DEVICE;
}
static int double_cuDeviceGetName(char *name, int length, int gpu) { NOTE; snprintf(name, length, "GPU %d", gpu); return OK; }
static int double_cuDeviceGetUuid(void *uuid, int gpu) { NOTE; memset(uuid, gpu + 1, 16); return OK; }
static int double_cuDeviceGetAttribute(int *value, int attribute, int gpu) {
    NOTE;
    switch (attribute) {
        case MAJOR: *value = 9; break;
        case MINOR: *value = 0; break;
        case WARP_SIZE: *value = 32; break;
        case PROCESSORS: *value = 132; break;
        case THREADS_PER_BLOCK: *value = 1024; break;
        case SHARED_BYTES_PER_BLOCK: *value = MOST_SHARED_BYTES; break;
        default: *value = 1;
    }
    return gpu >= 0 && gpu < GPUS ? OK : INVALID_DEVICE;
}
static int double_cuDevicePrimaryCtxRetain(Context **context, int gpu) {
    NOTE;
    if (gpu < 0 || gpu >= GPUS) return INVALID_DEVICE;
    *context = &primary[gpu];
    return OK;
}
static int double_cuDevicePrimaryCtxRelease(int gpu) { NOTE; (void)gpu; return OK; }

static int double_cuCtxGetCurrent(Context **context) { NOTE; *context = depth ? stack[depth - 1] : NULL; return OK; }
static int double_cuCtxSetCurrent(Context *context) {
    NOTE;
    if (!depth) depth = 1;
    stack[depth - 1] = context;
    return OK;
}
static int double_cuCtxPushCurrent(Context *context) {
    NOTE;
    if (depth == DEEPEST) return INVALID_VALUE;
    stack[depth++] = context;
    return OK;
}
static int double_cuCtxPopCurrent(Context **context) { IN_CONTEXT; *context = stack[--depth]; return OK; }
static int double_cuCtxGetDevice(int *gpu) { IN_CONTEXT; *gpu = stack[depth - 1]->gpu; return OK; }
static int double_cuCtxSynchronize(void) { IN_CONTEXT; return OK; }

static int double_cuMemGetInfo(size_t *available, size_t *all) {
    IN_CONTEXT;
    *available = *all = (size_t)1 << 36;
    return OK;
}
static int double_cuMemAlloc(uint64_t *address, size_t size) {
    IN_CONTEXT;
    if (size == 0) return INVALID_VALUE;
    Memory *memory = malloc(sizeof *memory);
    char *place = aligned_alloc(ALIGNMENT, (size + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT);
    if (!memory || !place) return OUT_OF_MEMORY;
    memset(place, 0x7F, size);  /* rubbish: no kernel may go by what it did not write */
    *memory = (Memory){place, size, stack[depth - 1]->gpu, memories};
    memories = memory;
    *address = (uint64_t)place;
    return OK;
}
static int double_cuMemFree(uint64_t address) {
    IN_CONTEXT;
    for (Memory **memory = &memories; *memory; memory = &(*memory)->next)
        if ((uint64_t)(*memory)->place == address) {
            Memory *freed = *memory;
            *memory = freed->next;
            free(freed->place);
            free(freed);
            return OK;
        }
    return INVALID_VALUE;
}
static int double_cuMemcpyHtoD(uint64_t target, const void *source, size_t size) {
    IN_CONTEXT;
    if (!is_memory(target, size)) return INVALID_VALUE;
    memcpy((void *)target, source, size);
    return OK;
}
static int double_cuMemcpyDtoH(void *target, uint64_t source, size_t size) {
    IN_CONTEXT;
    if (!is_memory(source, size)) return INVALID_VALUE;
    memcpy(target, (void *)source, size);
    return OK;
}

static int double_cuLibraryLoadData(void **library, const void *code, void *options, void *values, unsigned count, void *more,
                                    void *values_of_more, unsigned count_of_more) {
    NOTE;
    (void)options, (void)values, (void)count, (void)more, (void)values_of_more, (void)count_of_more;
    *library = calloc(1, 1);
    return memcmp(code, "\x7f" "ELF", 4) ? INVALID_VALUE : OK;
}
static int double_cuLibraryUnload(void *library) { NOTE; free(library); return OK; }
static int double_cuLibraryGetKernel(Kernel **kernel, void *library, const char *name) {
    NOTE;
    (void)library;
    *kernel = calloc(1, sizeof **kernel);
    snprintf((*kernel)->name, sizeof (*kernel)->name, "%s", name);
    return OK;
}
static int double_cuKernelGetAttribute(int *value, int attribute, Kernel *kernel, int gpu) {
    NOTE;
    (void)attribute, (void)kernel, (void)gpu;
    *value = 0;
    return OK;
}
static int double_cuLaunchKernel(Kernel *kernel, unsigned blocks, unsigned rows, unsigned planes, unsigned lanes, unsigned lane_rows,
                                 unsigned lane_planes, unsigned shared_bytes, void *stream, void **parameters, void **others) {
    IN_CONTEXT;
    if (rows != 1 || planes != 1 || lane_rows != 1 || lane_planes != 1 || others || !listener) return INVALID_VALUE;
    if (!blocks || !lanes || lanes > 1024 || shared_bytes > MOST_SHARED_BYTES) return INVALID_VALUE;
    int done = listener(kernel->name, blocks, lanes, shared_bytes, stream, stack[depth - 1]->gpu, parameters);
    return done ? OK : LAUNCH_FAILED;
}

static int double_cuGetErrorName(int error, const char **name) { (void)error; *name = "CUDA_ERROR"; return OK; }
static int double_cuGetErrorString(int error, const char **text) { (void)error; *text = "refused by the double"; return OK; }

static int double_cuGetProcAddress(const char *name, void **function, int version, uint64_t flags, int *status);

#define OFFER(function) {#function, (void *)double_##function}
static const struct { const char *name; void *function; } offers[] = {
    OFFER(cuInit), OFFER(cuDriverGetVersion), OFFER(cuDeviceGetCount), OFFER(cuDeviceGet), OFFER(cuDeviceGetName),
    OFFER(cuDeviceGetUuid), OFFER(cuDeviceGetAttribute), OFFER(cuDevicePrimaryCtxRetain), OFFER(cuDevicePrimaryCtxRelease),
    OFFER(cuCtxGetCurrent), OFFER(cuCtxSetCurrent), OFFER(cuCtxPushCurrent), OFFER(cuCtxPopCurrent), OFFER(cuCtxGetDevice),
    OFFER(cuCtxSynchronize), OFFER(cuMemGetInfo), OFFER(cuMemAlloc), OFFER(cuMemFree), OFFER(cuMemcpyHtoD),
    OFFER(cuMemcpyDtoH), OFFER(cuLibraryLoadData), OFFER(cuLibraryUnload), OFFER(cuLibraryGetKernel),
    OFFER(cuKernelGetAttribute), OFFER(cuLaunchKernel), OFFER(cuGetErrorName), OFFER(cuGetErrorString),
    OFFER(cuGetProcAddress),
};

static int double_cuGetProcAddress(const char *name, void **function, int version, uint64_t flags, int *status) {
    (void)version, (void)flags;
    *function = NULL;
    for (size_t index = 0; index < sizeof offers / sizeof *offers; index++)
        if (!strcmp(offers[index].name, name)) *function = offers[index].function;
    if (status) *status = *function ? 0 : 1;
    return *function ? OK : NOT_FOUND;
}

/* What is looked up by name: all else is asked for. */
int cuGetProcAddress_v2(const char *name, void **function, int version, uint64_t flags, int *status) {
    return double_cuGetProcAddress(name, function, version, flags, status);
}
int cuInit(unsigned flags) { return double_cuInit(flags); }
int cuDeviceGetCount(int *count) { return double_cuDeviceGetCount(count); }
int cuDriverGetVersion(int *version) { return double_cuDriverGetVersion(version); }

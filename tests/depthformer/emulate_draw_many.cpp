// The kernel that draws for many streams on a CPU, for one stream: run(the arguments). As a library for the test.
#include "emulated_cuda.h"

static int grid;
#define gridDim (Index{grid})
// Shared by the threads of the only block.
#define __shared__ static
#include "draw_many.cu"

static void* arguments[7];
static void work() {
  void** a = arguments;
  draw_many((const float*)a[0], (const float*)a[1], (const float*)a[2], (const float*)a[3], (const int*)a[4],
            (const int*)a[5], (int*)a[6]);
}
extern "C" void run(void** given) {
  memcpy(arguments, given, sizeof(arguments));
  grid = 1;
  fibers::run(1, THREADS, 0, work);
}

// The depth kernel on a CPU, as a library for the test: run(the kernel's arguments).
#include "emulated_cuda.h"
#include "depth_frame.cu"

static void* arguments[18];
static void work() {
  void** a = arguments;
  typedef const unsigned char* Bytes;
  depth_frame((Bytes)a[0], (Bytes)a[1], (Bytes)a[2], (Bytes)a[3], (const bf16*)a[4], (const bf16*)a[5],
              (const bf16*)a[6], (Bytes)a[7], (const bf16*)a[8], (const bf16*)a[9], (const float*)a[10],
              (const float*)a[11], (const int*)a[12], (const float*)a[13], (const unsigned*)a[14], (int*)a[15],
              (float*)a[16], (unsigned*)a[17]);
}
extern "C" long shared_size() { return sizeof(Shared); }
extern "C" void run(void** given) {
  memcpy(arguments, given, sizeof(arguments));
  fibers::run(BLOCKS, THREADS + 32, sizeof(Shared), work);
}

// The temporal kernel on a CPU, as a library for the test: run(the kernel's arguments).
#include "emulated_cuda.h"
#include "temporal_frame.cu"

static void* arguments[20];
static void work() {
  void** a = arguments;
  typedef const unsigned char* Bytes;
  temporal_frame((Bytes)a[0], (Bytes)a[1], (Bytes)a[2], (Bytes)a[3], (Bytes)a[4], (Bytes)a[5], (const bf16*)a[6],
                 (const bf16*)a[7], (const bf16*)a[8], (const bf16*)a[9], (Bytes)a[10], (Bytes)a[11],
                 (const float*)a[12], (const float*)a[13], (const int*)a[14], (const bf16*)a[15],
                 (const unsigned*)a[16], (float*)a[17], (bf16*)a[18], (unsigned*)a[19]);
}
extern "C" long shared_size() { return sizeof(Shared); }
extern "C" void run(void** given) {
  memcpy(arguments, given, sizeof(arguments));
  fibers::run(BLOCKS, THREADS + 32, sizeof(Shared), work);
}

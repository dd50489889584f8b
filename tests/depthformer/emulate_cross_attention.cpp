// The cross-attention kernel on a CPU, as a library for the test: run(the kernel's arguments, rows).
#include "emulated_cuda.h"

static int grid;
#define gridDim (Index{grid})
inline void warp_meets() { fibers::meet(fibers::warp().meeting, 32); }
#define __syncwarp warp_meets
inline float __expf(float x) { return std::exp(x); }
inline void copy_async(void* to, const void* from, bool wanted) { wanted ? (void)memcpy(to, from, 16) : (void)memset(to, 0, 16); }
inline void copies_go() {}
inline void copies_but(int) {}
inline unsigned two(const unsigned short* low, const unsigned short* high) { return *low | (unsigned)*high << 16; }
// Lane l gets of matrix m the places (l / 4, l % 4 * 2) and the next in the row; transposed, in the column.
inline void load_matrices(unsigned r[4], const unsigned short* row) {
  const unsigned words[2] = {(unsigned)(uintptr_t)row, (unsigned)((uintptr_t)row >> 32)};
  const int lane = fibers::now().thread % 32;
  struct Four { unsigned v[4]; };
  const Four got = fibers::exchange(words, 2, [&](fibers::Warp& w) {
    Four four;
    for (int m = 0; m < 4; ++m) {
      const unsigned* from = w.words[m * 8 + lane / 4];
      const auto* at = (const unsigned short*)((uintptr_t)from[0] | (uintptr_t)from[1] << 32);
      four.v[m] = two(at + lane % 4 * 2, at + lane % 4 * 2 + 1);
    }
    return four;
  });
  memcpy(r, got.v, sizeof got.v);
}
inline void load_transposed(unsigned r[4], const unsigned short* row) {
  const unsigned words[2] = {(unsigned)(uintptr_t)row, (unsigned)((uintptr_t)row >> 32)};
  const int lane = fibers::now().thread % 32;
  struct Four { unsigned v[4]; };
  const Four got = fibers::exchange(words, 2, [&](fibers::Warp& w) {
    auto at = [&](int m, int line) {
      const unsigned* from = w.words[m * 8 + line];
      return (const unsigned short*)((uintptr_t)from[0] | (uintptr_t)from[1] << 32) + lane / 4;
    };
    Four four;
    for (int m = 0; m < 4; ++m) four.v[m] = two(at(m, lane % 4 * 2), at(m, lane % 4 * 2 + 1));
    return four;
  });
  memcpy(r, got.v, sizeof got.v);
}
// D += A B as PTX's m16n8k16 has them over the lanes.
inline void multiply_all(float d[4], const unsigned a[4], unsigned b0, unsigned b1) {
  const unsigned words[6] = {a[0], a[1], a[2], a[3], b0, b1};
  const int lane = fibers::now().thread % 32, row = lane / 4, part = lane % 4;
  struct Four { float v[4]; };
  const Four sums = fibers::exchange(words, 6, [&](fibers::Warp& w) {
    auto left = [](unsigned u) { return __uint_as_float(u << 16); };
    auto right = [](unsigned u) { return __uint_as_float(u & 0xffff0000u); };
    Four sums = {{0, 0, 0, 0}};
    for (int i = 0; i < 4; ++i)
      for (int t = 0; t < 4; ++t)
        for (int half = 0; half < 2; ++half) {
          const unsigned x = w.words[row * 4 + t][i / 2 + 2 * half], y = w.words[(part * 2 + i % 2) * 4 + t][4 + half];
          sums.v[i] += left(x) * left(y) + right(x) * right(y);
        }
    return sums;
  });
  for (int i = 0; i < 4; ++i) d[i] += sums.v[i];
}

#include "cross_attention.cu"

static void* arguments[4];
static void work() {
  void** a = arguments;
  cross_attention((const bf16*)a[0], (const bf16*)a[1], (const float*)a[2], (bf16*)a[3]);
}
extern "C" long shared_size() { return sizeof(Shared); }
extern "C" void run(void** given, int rows) {
  memcpy(arguments, given, sizeof(arguments));
  grid = rows;
  fibers::run(rows, THREADS, sizeof(Shared), work);
}

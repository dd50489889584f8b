// Enough of CUDA to run one kernel's logic on a CPU: every thread is a fiber, every wait a yield. Slow and exact.
#pragma once
#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <vector>

#define EMULATED
#define __device__
#define __global__
#define __forceinline__ inline
#define __launch_bounds__(...)
#define DYNAMIC_SHARED(name) unsigned char* name = fibers::now().shared
struct float2 { float x, y; };
inline float2 make_float2(float x, float y) { return {x, y}; }
struct uint2 { unsigned x, y; };
struct uint4 { unsigned x, y, z, w; };
struct float4 { float x, y, z, w; };
inline uint2 make_uint2(unsigned x, unsigned y) { return {x, y}; }
inline uint4 make_uint4(unsigned x, unsigned y, unsigned z, unsigned w) { return {x, y, z, w}; }
inline float4 make_float4(float x, float y, float z, float w) { return {x, y, z, w}; }
inline float __uint_as_float(unsigned u) { float f; memcpy(&f, &u, 4); return f; }
inline unsigned __float_as_uint(float f) { unsigned u; memcpy(&u, &f, 4); return u; }
inline float rsqrtf(float x) { return 1 / std::sqrt(x); }

namespace fibers {
#ifdef __x86_64__
// Keeps this stack in `from`, with what a function must keep on it, and goes to another.
typedef void* Stack;
extern "C" void leap(Stack* from, Stack to);
asm(".text\nleap:\npush %rbp\npush %rbx\npush %r12\npush %r13\npush %r14\npush %r15\nmov %rsp, (%rdi)\nmov %rsi, %rsp\n"
    "pop %r15\npop %r14\npop %r13\npop %r12\npop %rbx\npop %rbp\nret\n");
inline void prepare(Stack& stack, char* memory, size_t size, void (*enter)()) {
  void** top = (void**)((uintptr_t)(memory + size) & ~(uintptr_t)15);
  *--top = nullptr, *--top = (void*)enter;
  for (int i = 0; i < 6; ++i) *--top = nullptr;
  stack = top;
}
#else
}
#include <ucontext.h>
namespace fibers {  // the same, asking the operating system at every leap
typedef ucontext_t Stack;
inline void leap(Stack* from, Stack& to) { swapcontext(from, &to); }
inline void prepare(Stack& stack, char* memory, size_t size, void (*enter)()) {
  getcontext(&stack);
  stack.uc_stack.ss_sp = memory, stack.uc_stack.ss_size = size, stack.uc_link = nullptr;
  makecontext(&stack, enter, 0);
}
#endif
struct Meeting { int here = 0; unsigned round = 0; };
struct Warp { Meeting meeting; unsigned words[32][8]; };
struct Block { Meeting meeting; Meeting others; Warp warps[17]; std::vector<unsigned char> shared; };
struct Fiber { Stack context; std::vector<char> stack; int block, thread; Block* of; unsigned char* shared; bool over = false; const Meeting* waits = nullptr; unsigned round = 0; };
inline std::vector<std::unique_ptr<Fiber>> all;
inline size_t current;
inline int threads;
inline Stack home;
inline Fiber& now() { return *all[current]; }
inline void yield() { leap(&now().context, home); }
inline void meet(Meeting& meeting, int many) {
  const unsigned round = meeting.round;
  if (++meeting.here == many) { meeting.here = 0; ++meeting.round; return; }
  Fiber& mine = now();
  for (mine.waits = &meeting, mine.round = round; meeting.round == round;) yield();
  mine.waits = nullptr;
}
inline void (*body)();
inline void enter() { body(); now().over = true; yield(); }
inline void run(int blocks, int many, size_t shared, void (*work)()) {
  body = work; threads = many; all.clear();
  std::vector<Block> made(blocks);
  for (int b = 0; b < blocks; ++b) {
    made[b].shared.resize(shared + 128);
    for (int t = 0; t < many; ++t) {
      auto fiber = std::make_unique<Fiber>();
      fiber->block = b; fiber->thread = t; fiber->of = &made[b];
      fiber->shared = (unsigned char*)(((uintptr_t)made[b].shared.data() + 127) & ~(uintptr_t)127);
      fiber->stack.resize(32768);
      prepare(fiber->context, fiber->stack.data(), fiber->stack.size(), enter);
      all.push_back(std::move(fiber));
    }
  }
  for (bool any = true; any;) {
    any = false;
    for (current = 0; current < all.size(); ++current)
      if (Fiber& next = *all[current]; !next.over) {
        any = true;
        if (!next.waits || next.waits->round != next.round) leap(&home, next.context);
      }
  }
  all.clear();
}
inline Warp& warp() { return now().of->warps[now().thread / 32]; }
// Every lane puts down words, all read them, and nobody goes on before all have.
template <class Read>
inline auto exchange(const unsigned* words, int many, Read read) {
  Warp& mine = warp();
  memcpy(mine.words[now().thread % 32], words, many * 4);
  meet(mine.meeting, 32);
  auto result = read(mine);
  meet(mine.meeting, 32);
  return result;
}
}  // namespace fibers

struct Index { int x; };
#define threadIdx (Index{fibers::now().thread})
#define blockIdx (Index{fibers::now().block})
#define YIELD fibers::yield()
inline void __syncthreads() { fibers::meet(fibers::now().of->meeting, fibers::threads); }
inline void meet() { fibers::meet(fibers::now().of->others, fibers::threads - 32); }
inline void __syncwarp() { fibers::meet(fibers::warp().meeting, 32); }
inline unsigned __shfl_sync(unsigned, unsigned x, int lane) {
  return fibers::exchange(&x, 1, [&](fibers::Warp& w) { return w.words[lane][0]; });
}
inline float __shfl_sync(unsigned m, float x, int lane) { return __uint_as_float(__shfl_sync(m, __float_as_uint(x), lane)); }
inline float __shfl_xor_sync(unsigned m, float x, int apart) { return __shfl_sync(m, x, (fibers::now().thread % 32) ^ apart); }
inline int __shfl_xor_sync(unsigned m, int x, int apart) { return (int)__shfl_sync(m, (unsigned)x, (fibers::now().thread % 32) ^ apart); }
inline unsigned __reduce_add_sync(unsigned, unsigned x) {
  return fibers::exchange(&x, 1, [](fibers::Warp& w) { unsigned sum = 0; for (auto& word : w.words) sum += word[0]; return sum; });
}
inline unsigned __reduce_max_sync(unsigned, unsigned x) {
  return fibers::exchange(&x, 1, [](fibers::Warp& w) { unsigned most = 0; for (auto& word : w.words) if (word[0] > most) most = word[0]; return most; });
}
inline int __float2int_rn(float x) { return (int)std::nearbyint(x); }
inline unsigned __shfl_down_sync(unsigned m, unsigned x, int apart) {
  const int lane = fibers::now().thread % 32;
  return __shfl_sync(m, x, lane + apart < 32 ? lane + apart : lane);
}
inline unsigned __ballot_sync(unsigned, bool x) {
  const unsigned word = x;
  return fibers::exchange(&word, 1, [](fibers::Warp& w) { unsigned all = 0; for (int i = 0; i < 32; ++i) all |= w.words[i][0] << i; return all; });
}
inline int __popc(unsigned x) { return __builtin_popcount(x); }
inline int __clz(unsigned x) { return __builtin_clz(x); }
inline void fetch_line(const void*) {}
inline void give_up() { abort(); }
inline uint4 read_words(const unsigned* at) { return *(const uint4*)at; }
inline void write_words(unsigned* at, uint4 v) { *(uint4*)at = v; }
inline void write_word(unsigned* at, unsigned word) { *at = word; }
// A gate holds the arrivals of a round, those missing, and the round.
inline void make_gate(unsigned long long* gate, unsigned arrivals) { *gate = arrivals | (unsigned long long)arrivals << 16; }
inline void copy_async(void* to, const void* from) { memcpy(to, from, 16); }
inline void copies_done() {}
inline void gates_made() {}
inline bool open(unsigned long long* gate, unsigned parity) { return (*gate >> 32 & 1) != parity; }
inline void arrive(unsigned long long* gate) {
  unsigned long long all = *gate & 0xffff, missing = (*gate >> 16 & 0xffff) - 1, round = *gate >> 32;
  if (!missing) missing = all, ++round;
  *gate = all | missing << 16 | round << 32;
}
inline void copy_through(void* to, const void* from, unsigned bytes, unsigned long long* gate, bool) {
  memcpy(to, from, bytes);
  arrive(gate);
}
// D += A B for A [16][16], B [16][8]; operands lie over the lanes as PTX's m16n8k16 has them.
inline void multiply(float d[4], uint4 a, uint2 b) {
  const unsigned words[6] = {a.x, a.y, a.z, a.w, b.x, b.y};
  const int lane = fibers::now().thread % 32, row = lane / 4, part = lane % 4;
  struct Four { float v[4]; };
  const Four sums = fibers::exchange(words, 6, [&](fibers::Warp& w) {
    auto low = [](unsigned u) { return __uint_as_float(u << 16); };
    auto high = [](unsigned u) { return __uint_as_float(u & 0xffff0000u); };
    Four sums = {};
    for (int i = 0; i < 4; ++i)
      for (int t = 0; t < 4; ++t)
        for (int half = 0; half < 2; ++half) {
          const unsigned a = w.words[row * 4 + t][half * 2 + i / 2], b = w.words[(part * 2 + i % 2) * 4 + t][4 + half];
          sums.v[i] += low(a) * low(b) + high(a) * high(b);
        }
    return sums;
  });
  for (int i = 0; i < 4; ++i) d[i] += sums.v[i];
}
// The same of whole numbers of 8 bits, A [16][32] and B [32][8], as m16n8k32 has them.
inline void multiply(int d[4], uint4 a, uint2 b) {
  const unsigned words[6] = {a.x, a.y, a.z, a.w, b.x, b.y};
  const int lane = fibers::now().thread % 32, row = lane / 4, part = lane % 4;
  struct Four { int v[4]; };
  const Four sums = fibers::exchange(words, 6, [&](fibers::Warp& w) {
    Four sums = {};
    for (int i = 0; i < 4; ++i)
      for (int t = 0; t < 4; ++t)
        for (int half = 0; half < 2; ++half) {
          const unsigned a = w.words[row * 4 + t][half * 2 + i / 2], b = w.words[(part * 2 + i % 2) * 4 + t][4 + half];
          for (int byte = 0; byte < 32; byte += 8) sums.v[i] += (signed char)(a >> byte) * (signed char)(b >> byte);
        }
    return sums;
  });
  for (int i = 0; i < 4; ++i) d[i] += sums.v[i];
}

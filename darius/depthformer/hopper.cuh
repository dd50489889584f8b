// What the kernels of one stream ask of a Hopper multiprocessor, each a function, and numbers of 16 bits. Knows no network.
//
// A CPU takes the functions' place in tests (EMULATED).
#pragma once

typedef unsigned short bf16;
typedef unsigned long long Gate;  // an mbarrier

constexpr int HEAD = 64, WARPS = 16, THREADS = 32 * WARPS, SENDER = WARPS, PAD = 8;

#ifndef EMULATED
#define YIELD
#define DYNAMIC_SHARED(name) extern __shared__ __align__(128) unsigned char name[]
__device__ __forceinline__ unsigned shared_address(const void* at) { return (unsigned)__cvta_generic_to_shared(at); }
// After some ten seconds of waiting: an error is better than a device that hangs.
__device__ __forceinline__ void give_up() { __trap(); }
// Words of other blocks, past the first cache, which does not see what they write; sixteen bytes come and go as one.
__device__ __forceinline__ uint4 read_words(const unsigned* at) {
  Gate low, high;
  asm volatile("{.reg .b128 v; ld.relaxed.gpu.global.b128 v, [%2]; mov.b128 {%0, %1}, v;}"
               : "=l"(low), "=l"(high) : "l"(at) : "memory");
  return make_uint4((unsigned)low, (unsigned)(low >> 32), (unsigned)high, (unsigned)(high >> 32));
}
__device__ __forceinline__ void write_words(unsigned* at, uint4 v) {
  asm volatile("{.reg .b128 v; mov.b128 v, {%1, %2}; st.relaxed.gpu.global.b128 [%0], v;}"
               ::"l"(at), "l"(v.x | (Gate)v.y << 32), "l"(v.z | (Gate)v.w << 32) : "memory");
}
__device__ __forceinline__ void write_word(unsigned* at, unsigned word) {
  asm volatile("st.relaxed.gpu.global.u32 [%0], %1;" ::"l"(at), "r"(word) : "memory");
}
// D += A B of the tensor cores' m16n8k16, bfloat16 in, float32 out.
__device__ __forceinline__ void multiply(float d[4], uint4 a, uint2 b) {
  asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3]) : "r"(a.x), "r"(a.y), "r"(a.z), "r"(a.w), "r"(b.x), "r"(b.y));
}
// The same for whole numbers of 8 bits: m16n8k32, exact.
__device__ __forceinline__ void multiply(int d[4], uint4 a, uint2 b) {
  asm("mma.sync.aligned.m16n8k32.row.col.s32.s8.s8.s32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
      : "+r"(d[0]), "+r"(d[1]), "+r"(d[2]), "+r"(d[3]) : "r"(a.x), "r"(a.y), "r"(a.z), "r"(a.w), "r"(b.x), "r"(b.y));
}
// Sixteen bytes into shared memory, until `copies_done`.
__device__ __forceinline__ void copy_async(void* to, const void* from) {
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"(shared_address(to)), "l"(from) : "memory");
}
__device__ __forceinline__ void copies_done() { asm volatile("cp.async.wait_all;" ::: "memory"); }
// Into the second cache; who comes later need not wait for memory behind all the weights.
__device__ __forceinline__ void fetch_line(const void* at) { asm volatile("prefetch.global.L2 [%0];" ::"l"(at)); }
// All warps but the sender.
__device__ __forceinline__ void meet() { asm volatile("bar.sync 1, %0;" ::"n"(THREADS) : "memory"); }
__device__ __forceinline__ void make_gate(Gate* gate, unsigned arrivals) {
  asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(shared_address(gate)), "r"(arrivals) : "memory");
}
__device__ __forceinline__ void gates_made() {
  asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
  asm volatile("fence.proxy.async;" ::: "memory");
}
__device__ __forceinline__ bool open(Gate* gate, unsigned parity) {
  unsigned is;
  asm volatile("{.reg .pred p; mbarrier.try_wait.parity.shared::cta.b64 p, [%1], %2; selp.u32 %0, 1, 0, p;}"
               : "=r"(is) : "r"(shared_address(gate)), "r"(parity) : "memory");
  return is;
}
__device__ __forceinline__ void arrive(Gate* gate) {
  asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];" ::"r"(shared_address(gate)) : "memory");
}
// Keeping says whether the second cache should hold on to it.
__device__ __forceinline__ void copy_through(void* to, const void* from, unsigned bytes, Gate* gate, bool keeping) {
  unsigned long long policy;
  if (keeping) asm volatile("createpolicy.fractional.L2::evict_last.b64 %0, 1.0;" : "=l"(policy));
  else asm volatile("createpolicy.fractional.L2::evict_first.b64 %0, 1.0;" : "=l"(policy));
  asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(shared_address(gate)), "r"(bytes) : "memory");
  asm volatile("cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes.L2::cache_hint [%0], [%1], %2, [%3], %4;"
               ::"r"(shared_address(to)), "l"(from), "r"(bytes), "r"(shared_address(gate)), "l"(policy) : "memory");
}
#endif

__device__ constexpr int divide_up(int a, int b) { return (a + b - 1) / b; }
__device__ constexpr int most(int a, int b) { return a > b ? a : b; }
__device__ constexpr int least(int a, int b) { return a < b ? a : b; }

__device__ __forceinline__ float wide(bf16 x) { return __uint_as_float((unsigned)x << 16); }
__device__ __forceinline__ bf16 narrow(float x) {
  unsigned bits = __float_as_uint(x);
  return (bf16)((bits + 0x7fff + ((bits >> 16) & 1)) >> 16);
}

// Boards in global memory, by which blocks tell each other vectors: see streaming.cuh. Knows no layers.
#pragma once

#include "hopper.cuh"

struct Eight {
  float v[8];
};
__device__ __forceinline__ Eight wide(uint4 x) {
  return {__uint_as_float(x.x << 16), __uint_as_float(x.x & 0xffff0000u), __uint_as_float(x.y << 16),
          __uint_as_float(x.y & 0xffff0000u), __uint_as_float(x.z << 16), __uint_as_float(x.z & 0xffff0000u),
          __uint_as_float(x.w << 16), __uint_as_float(x.w & 0xffff0000u)};
}
__device__ __forceinline__ unsigned pair(float low, float high) { return narrow(low) | (unsigned)narrow(high) << 16; }
__device__ __forceinline__ Eight eight(const bf16* at) { return wide(*(const uint4*)at); }
__device__ __forceinline__ Eight eight(const float* at) {
  const float4 x = *(const float4*)at, y = *(const float4*)(at + 4);
  return {x.x, x.y, x.z, x.w, y.x, y.y, y.z, y.w};
}

// Where an element of a board is.
__device__ __forceinline__ unsigned* place(unsigned* board, int element) { return board + element / 2; }

// An element of a board from each lane of a warp; eight neighbouring lanes have eight neighbours, if they have any.
__device__ __forceinline__ void publish(unsigned* board, int element, float x, unsigned tag, bool any) {
  unsigned a = narrow(x);
  a |= __shfl_down_sync(~0u, a, 1) << 16;
  const unsigned b = __shfl_down_sync(~0u, a, 2), c = __shfl_down_sync(~0u, a, 4), d = __shfl_down_sync(~0u, b, 4);
  if (any && threadIdx.x % 8 == 0) write_words(place(board, element), make_uint4((a & ~1u) | tag, b, c, d));
}
// A float with a tag of its own.
__device__ __forceinline__ void publish_float(unsigned* at, float x, unsigned tag) {
  write_word(at, (__float_as_uint(x) & ~1u) | tag);
}
__device__ __forceinline__ void again(unsigned& tries) {
  YIELD;
  if (++tries >> 24) give_up();
}
__device__ __forceinline__ bool fresh(uint4 v, unsigned tag) { return !((v.x ^ tag) & 1); }
__device__ __forceinline__ bool fresh_floats(uint4 v, unsigned tag) {
  return !(((v.x ^ tag) | (v.y ^ tag) | (v.z ^ tag) | (v.w ^ tag)) & 1);
}
// Words from each of the first `many` places. As long as they are not there, only the first place is asked: reading
// all of them again and again would take the memory's time from the weights.
template <int MANY, class Fresh>
__device__ __forceinline__ void await(uint4 (&v)[MANY], const unsigned* const (&at)[MANY], int many, Fresh fresh) {
  unsigned tries = 0;
  for (v[0] = read_words(at[0]); !fresh(v[0]); v[0] = read_words(at[0])) again(tries);
  for (bool all = MANY == 1; !all;) {
    all = true;
#pragma unroll
    for (int i = 1; i < MANY; ++i)
      if (i < many) v[i] = read_words(at[i]);
#pragma unroll
    for (int i = 1; i < MANY; ++i) all = all && (i >= many || fresh(v[i]));
    if (!all) again(tries);
  }
}
// Eight neighbours of a board.
__device__ __forceinline__ uint4 await(unsigned* board, int element, unsigned tag) {
  const unsigned* const at[1] = {place(board, element)};
  uint4 v[1];
  await(v, at, 1, [=](uint4 x) { return fresh(x, tag); });
  return v[0];
}

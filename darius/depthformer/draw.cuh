// The draw of a code: guidance, temperature, top k, Gumbel noise; see `sampling.choose`. Knows no network.
#pragma once
#include "streaming.cuh"

struct Controls {
  float guidance, temperature;
  int top_k;
};

struct Ballot {
  unsigned counts[2][WARPS];
  float highest[WARPS];
  int best[WARPS];
};

// Floats in an order that unsigned integers keep.
__device__ __forceinline__ unsigned ordered(float x) {
  const unsigned bits = __float_as_uint(x);
  return bits & 0x80000000u ? ~bits : bits | 0x80000000u;
}

// The code drawn from a board of logits [ROWS][CODES], four codes a thread; the same in every thread and block.
__device__ __forceinline__ int draw(Ballot& ballot, const unsigned* logits, unsigned tag, const float* noise, Controls controls) {
  static_assert(CODES % 4 == 0 && CODES / 4 <= THREADS, "four codes a thread");
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32, first = threadIdx.x * 4;
  float value[4] = {}, moved[4] = {};
  unsigned key[4] = {}, threshold = 0;
  if (first < CODES) {
    const float4 n = *(const float4*)(noise + first), a = await(logits + first, tag);
    const float4 b = ROWS == 2 ? await(logits + CODES + first, tag) : a;
    const float w = ROWS == 2 ? controls.guidance : 0, as[4] = {a.x, a.y, a.z, a.w}, bs[4] = {b.x, b.y, b.z, b.w};
    const float ns[4] = {n.x, n.y, n.z, n.w};
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      value[i] = (1 + w) * as[i] - w * bs[i], key[i] = ordered(value[i]);
      moved[i] = value[i] / fmaxf(controls.temperature, 1e-4f) + (controls.temperature > 1e-4f ? ns[i] : 0);
    }
  }
  // The largest threshold that the k largest reach, bit by bit, or any that exactly they reach.
  for (int bit = 31; controls.top_k > 0 && bit >= 0; --bit) {
    const unsigned candidate = threshold | 1u << bit;
    unsigned reach = (key[0] >= candidate) + (key[1] >= candidate) + (key[2] >= candidate) + (key[3] >= candidate);
    reach = __reduce_add_sync(~0u, reach);
    if (lane == 0) ballot.counts[bit % 2][warp] = reach;
    meet();
    reach = 0;
#pragma unroll
    for (int w = 0; w < WARPS; ++w) reach += ballot.counts[bit % 2][w];
    if (reach >= (unsigned)controls.top_k) threshold = candidate;
    if (reach == (unsigned)controls.top_k) break;
  }
  float highest = -1e30f;
  int best = 0;
#pragma unroll
  for (int i = 0; i < 4; ++i)
    if (first < CODES && key[i] >= threshold && moved[i] > highest) highest = moved[i], best = first + i;
#pragma unroll
  for (int apart = 16; apart; apart /= 2) {
    const float other = __shfl_xor_sync(~0u, highest, apart);
    const int its = __shfl_xor_sync(~0u, best, apart);
    if (other > highest || (other == highest && its < best)) highest = other, best = its;
  }
  if (lane == 0) ballot.highest[warp] = highest, ballot.best[warp] = best;
  meet();
#pragma unroll
  for (int w = 0; w < WARPS; ++w)
    if (ballot.highest[w] > highest || (ballot.highest[w] == highest && ballot.best[w] < best))
      highest = ballot.highest[w], best = ballot.best[w];
  return best;
}

// Attention of a warp: one head of one row, the newest position to all up to it. Knows no layers.
#pragma once
#include "streaming.cuh"

constexpr int KEPT = HEAD + PAD;  // a position's key or value in shared memory

// The newest position's query, key and value are waited for and join the past; what comes of it is published.
//
// words: of the board of queries, keys and values, at this head's query; keys, values: the past [POSITIONS][KEPT];
// bias: of this head and the newest position, on each position; to: 64 words.
template <int POSITIONS>
__device__ __forceinline__ void attend(bf16* keys, bf16* values, bf16* query, const unsigned* words, unsigned tag,
                                       const bf16* bias, int newest, unsigned* to) {
  constexpr int GROUPS = divide_up(POSITIONS, 16);
  const int lane = threadIdx.x % 32, half = lane % 2;
  // Sixteen positions at a time, two lanes each.
  float share[GROUPS], highest = -1e30f;
#pragma unroll
  for (int group = 0; group < GROUPS; ++group) {
    const int position = group * 16 + lane / 2;
    share[group] = position <= newest ? wide(bias[position]) : -1e30f;
  }
  // Lanes 0 to 15 wait for the query and the value, the others for the key (twice).
  const unsigned* const at[2] = {words + (lane / 16) * WIDTH + lane % 16 * 4, words + (2 - lane / 16) * WIDTH + lane % 16 * 4};
  float4 x[2];
  await(x, at, tag);
  *(uint2*)((lane < 16 ? query : keys + newest * KEPT) + lane % 16 * 4) = narrow(x[0]);
  if (lane < 16) *(uint2*)(values + newest * KEPT + lane * 4) = narrow(x[1]);
  __syncwarp();
#pragma unroll
  for (int group = 0; group < GROUPS; ++group) {
    const int position = group * 16 + lane / 2;
    float score = 0;
    if (position <= newest) {
      const uint4* q = (const uint4*)(query + half * 32);
      const uint4* k = (const uint4*)(keys + position * KEPT + half * 32);
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        const unsigned qs[4] = {q[i].x, q[i].y, q[i].z, q[i].w}, ks[4] = {k[i].x, k[i].y, k[i].z, k[i].w};
#pragma unroll
        for (int j = 0; j < 4; ++j)
          score += __uint_as_float(qs[j] << 16) * __uint_as_float(ks[j] << 16) +
                   __uint_as_float(qs[j] & 0xffff0000u) * __uint_as_float(ks[j] & 0xffff0000u);
      }
    }
    share[group] += score + __shfl_xor_sync(~0u, score, 1);
    highest = fmaxf(highest, share[group]);
  }
#pragma unroll
  for (int apart = 2; apart < 32; apart *= 2) highest = fmaxf(highest, __shfl_xor_sync(~0u, highest, apart));
  float sum = 0;
#pragma unroll
  for (int group = 0; group < GROUPS; ++group) sum += share[group] = expf(share[group] - highest);
#pragma unroll
  for (int apart = 2; apart < 32; apart *= 2) sum += __shfl_xor_sync(~0u, sum, apart);
  float low = 0, high = 0;
#pragma unroll
  for (int group = 0; group < GROUPS; ++group) {
#pragma unroll
    for (int i = 0; i < 16; ++i) {
      const float weight = __shfl_sync(~0u, share[group], i * 2);
      if (group * 16 + i <= newest) {
        const unsigned v = *(const unsigned*)(values + (group * 16 + i) * KEPT + lane * 2);
        low += weight * __uint_as_float(v << 16);
        high += weight * __uint_as_float(v & 0xffff0000u);
      }
    }
  }
  publish(to + lane * 2, low / sum, tag);
  publish(to + lane * 2 + 1, high / sum, tag);
}

// Attention of a warp: one head of one row, the newest position to all up to it. Knows no layers.
#pragma once
#include "streaming.cuh"

constexpr int KEPT = HEAD + PAD;  // a position's key or value in shared memory

// The newest position's query, key and value are waited for and join the past; what comes of it is published.
//
// board: of queries, keys and values; at: this head's query in it; keys, values: the past [POSITIONS][KEPT];
// bias: of this head and the newest position, on each position; to: a board, 64 elements of it from `to_at` on.
template <int POSITIONS>
__device__ __forceinline__ void attend(bf16* keys, bf16* values, bf16* query, unsigned* board, int at, unsigned tag,
                                       const bf16* bias, int newest, unsigned* to, int to_at) {
  constexpr int GROUPS = divide_up(POSITIONS, 16);
  const int lane = threadIdx.x % 32, half = lane % 2;
  // Sixteen positions at a time, two lanes each.
  float share[GROUPS], highest = -1e30f;
#pragma unroll
  for (int group = 0; group < GROUPS; ++group) {
    const int position = group * 16 + lane / 2;
    share[group] = position <= newest ? wide(bias[position]) : -1e30f;
  }
  // Eight lanes wait for the query, eight for the key, eight for the value.
  if (lane < 24) {
    bf16* const its = lane < 8 ? query : (lane < 16 ? keys : values) + newest * KEPT;
    *(uint4*)(its + lane % 8 * 8) = await(board, at + lane / 8 * WIDTH + lane % 8 * 8, tag);
  }
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
  const unsigned mine = pair(low / sum, high / sum), next = __shfl_down_sync(~0u, mine, 1);
  const unsigned third = __shfl_down_sync(~0u, mine, 2), fourth = __shfl_down_sync(~0u, next, 2);
  if (lane % 4 == 0) write_words(place(to, to_at + lane * 2), make_uint4((mine & ~1u) | tag, next, third, fourth));
}

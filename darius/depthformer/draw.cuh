// The draw of a code: guidance, temperature, top k, Gumbel noise; see `sampling.choose`. Knows no network.
#pragma once
#include "streaming.cuh"

struct Controls {
  float guidance, temperature;
  int top_k;
};

struct Ballot {
  unsigned counts[2][WARPS][32];  // of even and odd rounds
  float highest[WARPS];
  int best[WARPS];
};

// Floats in an order that unsigned integers keep.
__device__ __forceinline__ unsigned ordered(float x) {
  const unsigned bits = __float_as_uint(x);
  return bits & 0x80000000u ? ~bits : bits | 0x80000000u;
}

// A threshold that of everybody's keys the k largest reach, and those as large as the k-th. Keys of 0 do not count.
//
// Five bits a round: how many keys have each value of these bits, among those that have the bits found so far; until
// who reaches some value is exactly the rest of k.
__device__ __forceinline__ unsigned reached(Ballot& ballot, const unsigned (&key)[4], int k) {
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  unsigned found = 0, wanted = k;
  for (int shift = 27, round = 0;; shift = shift >= 5 ? shift - 5 : 0, ++round) {
    const unsigned above = shift == 27 ? 0 : ~0u << (shift ? shift + 5 : 2);
    unsigned many = 0;  // keys whose bits are this lane
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      unsigned same = __ballot_sync(~0u, key[i] && (key[i] & above) == found);
#pragma unroll
      for (int bit = 0; bit < 5; ++bit) {
        const unsigned set = __ballot_sync(~0u, key[i] >> (shift + bit) & 1);
        same &= lane >> bit & 1 ? set : ~set;
      }
      many += __popc(same);
    }
    ballot.counts[round % 2][warp][lane] = many;
    meet();
    many = 0;
#pragma unroll
    for (int w = 0; w < WARPS; ++w) many += ballot.counts[round % 2][w][lane];
    // How many have these bits or larger ones.
    unsigned reach = many;
#pragma unroll
    for (int apart = 1; apart < 32; apart *= 2) {
      const unsigned others = __shfl_down_sync(~0u, reach, apart);
      if (lane + apart < 32) reach += others;
    }
    const unsigned enough = __ballot_sync(~0u, reach >= wanted);
    if (!enough) return 0;  // fewer keys than k
    const int digit = 31 - __clz(enough);
    found |= (unsigned)digit << shift;
    const unsigned exactly = __shfl_sync(~0u, reach, digit);
    if (exactly == wanted || shift == 0) return found;
    wanted -= exactly - __shfl_sync(~0u, many, digit);
  }
}

// The code drawn from a board of logits [ROWS][CODES], four codes a thread; the same in every thread and block.
__device__ __forceinline__ int draw(Ballot& ballot, const unsigned* logits, unsigned tag, const float* noise, Controls controls) {
  static_assert(CODES % 4 == 0 && CODES / 4 <= THREADS, "four codes a thread");
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32, first = threadIdx.x * 4;
  float value[4] = {}, moved[4] = {};
  unsigned key[4] = {}, threshold = 0;
  if (first < CODES) {
    const float4 n = *(const float4*)(noise + first);
    const unsigned* const at[2] = {logits + first, logits + (ROWS - 1) * CODES + first};
    uint4 x[2];
    await(x, at, 2, [=](uint4 v) { return fresh_floats(v, tag); });
    const unsigned as[4] = {x[0].x, x[0].y, x[0].z, x[0].w}, bs[4] = {x[1].x, x[1].y, x[1].z, x[1].w};
    const float w = ROWS == 2 ? controls.guidance : 0;
    const float ns[4] = {n.x, n.y, n.z, n.w};
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      value[i] = (1 + w) * __uint_as_float(as[i]) - w * __uint_as_float(bs[i]), key[i] = ordered(value[i]);
      moved[i] = value[i] / fmaxf(controls.temperature, 1e-4f) + (controls.temperature > 1e-4f ? ns[i] : 0);
    }
  }
  if (controls.top_k > 0) threshold = reached(ballot, key, controls.top_k);
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

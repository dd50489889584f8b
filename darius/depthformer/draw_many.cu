// A code for each of many streams: guidance, temperature, top k, Gumbel noise; see `sampling.choose`. A block a stream.
//
// The k-th largest logit is found bit by bit: how many are at least as large? CODES are at most four a thread. Without
// GUIDED, `logits` has no second half and `guidance` is not read.

constexpr int THREADS = 256, WARPS = 8, EACH = (CODES + THREADS - 1) / THREADS;
constexpr float LOWEST = -3.4028234e38f;

// Floats in an order that unsigned integers keep; both zeros are one.
__device__ __forceinline__ unsigned ordered(float x) {
  const unsigned bits = __float_as_uint(x + 0.0f);
  return bits & 0x80000000u ? ~bits : bits | 0x80000000u;
}

// logits [streams, then as many without style][CODES]; noise [streams][CODES]; the rest [streams].
extern "C" __global__ void __launch_bounds__(THREADS)
draw_many(const float* logits, const float* noise, const float* guidance, const float* temperature, const int* top_k,
          const int* known, int* out) {
  __shared__ int counts[2][WARPS];
  __shared__ float highest[WARPS];
  __shared__ int places[WARPS];
  const int streams = gridDim.x, stream = blockIdx.x, warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  const float t = temperature[stream];
  const int k = top_k[stream];
  float value[EACH];
  unsigned key[EACH];
#pragma unroll
  for (int i = 0; i < EACH; ++i) {
    const int code = i * THREADS + threadIdx.x;
    value[i] = 0, key[i] = 0;
    if (code < CODES) {
      value[i] = logits[(size_t)stream * CODES + code];
#ifdef GUIDED
      const float w = guidance[stream], other = logits[(size_t)(streams + stream) * CODES + code];
      value[i] = (1 + w) * value[i] - w * other;
#endif
      key[i] = ordered(value[i]);
    }
  }
  unsigned threshold = 0;
  if (k > 0)
    for (int bit = 31; bit >= 0; --bit) {
      const unsigned higher = threshold | 1u << bit;
      unsigned mine = 0;
#pragma unroll
      for (int i = 0; i < EACH; ++i) mine += key[i] >= higher;
      mine = __reduce_add_sync(~0u, mine);
      if (lane == 0) counts[bit % 2][warp] = mine;
      __syncthreads();
      int many = 0;
#pragma unroll
      for (int w = 0; w < WARPS; ++w) many += counts[bit % 2][w];
      if (many >= k) threshold = higher;
      if (many == k) break;
    }
  float best = LOWEST;
  int place = CODES;
#pragma unroll
  for (int i = 0; i < EACH; ++i) {
    const int code = i * THREADS + threadIdx.x;
    if (code < CODES && key[i] >= threshold) {
      const float moved = value[i] / fmaxf(t, COLDEST) + (t > COLDEST ? noise[(size_t)stream * CODES + code] : 0.0f);
      if (moved > best || place == CODES) best = moved, place = code;
    }
  }
#pragma unroll
  for (int apart = 16; apart; apart /= 2) {
    const float other = __shfl_xor_sync(~0u, best, apart);
    const int there = __shfl_xor_sync(~0u, place, apart);
    if (other > best || (other == best && there < place)) best = other, place = there;
  }
  if (lane == 0) highest[warp] = best, places[warp] = place;
  __syncthreads();
  if (threadIdx.x == 0) {
    for (int w = 1; w < WARPS; ++w)
      if (highest[w] > best || (highest[w] == best && places[w] < place)) best = highest[w], place = places[w];
    out[stream] = known[stream] >= 0 ? known[stream] : place;
  }
}

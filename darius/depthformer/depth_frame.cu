// All levels of one frame in one launch: the depth stack, the projection and the draw, for one stream.
//
// Every multiprocessor runs one block. A phase is a matrix product shared out over the blocks; a barrier of the whole
// grid separates it from the next, whose weights are on their way into registers meanwhile. ROWS is 2 with guidance
// (conditioned, unconditioned), else 1. Products are those of the tensor cores: m16n8k16, bfloat16 in, float32 out,
// rows of the stream as rows of A, eight outputs as columns of B.
//
// Constants: ROWS WIDTH (of the residual) JOINED (all heads) HEADS INNER (of the MLP) LAYERS LEVELS CODES BLOCKS EPSILON.
// HEAD is 64, THREADS 256; WIDTH, JOINED and INNER are multiples of 256.
// The type of weights and caches is bfloat16, here as its 16 bits. Rounding follows darius/depthformer/layers.py.

typedef unsigned short bf16;

#ifndef EMULATED
#define YIELD
#define DYNAMIC_SHARED(name) extern __shared__ __align__(16) unsigned char name[]
__device__ __forceinline__ uint4 load_weights(const uint4* at) {
  uint4 v;
  asm volatile("ld.global.nc.L1::no_allocate.v4.u32 {%0,%1,%2,%3}, [%4];"
               : "=r"(v.x), "=r"(v.y), "=r"(v.z), "=r"(v.w) : "l"(at));
  return v;
}
// What other blocks wrote: past the first cache, which does not see it.
__device__ __forceinline__ float4 load_shared_work(const float4* at) { return __ldcg(at); }
__device__ __forceinline__ float load_shared_work(const float* at) { return __ldcg(at); }
__device__ __forceinline__ void copy_async(void* to, const void* from) {
  unsigned target = (unsigned)__cvta_generic_to_shared(to);
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"(target), "l"(from) : "memory");
}
__device__ __forceinline__ void copies_done() { asm volatile("cp.async.wait_all;" ::: "memory"); }
__device__ __forceinline__ void multiply(float d[4], unsigned a0, unsigned a2, unsigned b0, unsigned b1) {
  asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%5}, {%7,%8}, {%0,%1,%2,%3};"
               : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3]) : "r"(a0), "r"(0), "r"(a2), "r"(b0), "r"(b1));
}
__device__ __forceinline__ void arrive(unsigned* count) {
  asm volatile("red.release.gpu.global.add.u32 [%0], 1;" ::"l"(count) : "memory");
}
__device__ __forceinline__ unsigned arrived(unsigned* count) {
  unsigned seen;
  asm volatile("ld.acquire.gpu.global.u32 %0, [%1];" : "=r"(seen) : "l"(count) : "memory");
  return seen;
}
#endif

constexpr int HEAD = 64, THREADS = 256, WARPS = 8, PAD = 8;
__device__ constexpr int divide_up(int a, int b) { return (a + b - 1) / b; }
// Units of eight outputs: how many there are, and how many a block makes at most.
constexpr int QKV_UNITS = 3 * JOINED / 8, OUT_UNITS = WIDTH / 8, INNER_UNITS = INNER / 8, CODE_UNITS = CODES / 8;
constexpr int QKV = divide_up(QKV_UNITS, BLOCKS), OUT = divide_up(OUT_UNITS, BLOCKS);
constexpr int GATES = divide_up(INNER_UNITS, BLOCKS), PROJECT = divide_up(CODE_UNITS, BLOCKS);
// Steps of 32 inputs that a warp takes.
constexpr int WIDE = WIDTH / 256, JOINT = JOINED / 256, DEEP = INNER / 256;
__device__ constexpr int most(int a, int b) { return a > b ? a : b; }
constexpr int TOTALS = most(most(QKV, OUT), most(2 * GATES, PROJECT));
constexpr int INPUT = most(most(WIDTH, JOINED), INNER) + PAD, PAST = JOINED + PAD;

struct Shared {
  bf16 input[ROWS][INPUT];           // what the present product reads
  bf16 past[2][ROWS][LEVELS][PAST];  // keys and values of the present layer
  bf16 query[ROWS][PAST];
  float totals[WARPS][TOTALS][ROWS][8];
  float scratch[WARPS];
  unsigned counts[2][WARPS];
  int best[WARPS];
};

// One layer's matrices in the order of `fused.fragments`.
struct Layer {
  const uint4 *qkv, *out, *gate_up, *down;
  const bf16 *norm, *mlp_norm;
};

__device__ __forceinline__ float wide(bf16 x) { return __uint_as_float((unsigned)x << 16); }
__device__ __forceinline__ bf16 narrow(float x) {
  unsigned bits = __float_as_uint(x);
  return (bf16)((bits + 0x7fff + ((bits >> 16) & 1)) >> 16);
}

template <int UNITS, int STEPS>
struct Tile {
  uint4 w[UNITS][STEPS];
};

// This warp's share of this block's units. Matrices made in pairs lie one after the other: `apart` units.
template <int UNITS, int STEPS>
__device__ __forceinline__ void fetch(Tile<UNITS, STEPS>& tile, const uint4* matrix, int units, int pair = 1, int apart = 0) {
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
#pragma unroll
  for (int u = 0; u < UNITS; ++u) {
    const int unit = blockIdx.x + (u / pair) * BLOCKS;
    if (unit < units) {
      const size_t at = (size_t)(unit + (u % pair) * apart) * WARPS + warp;
#pragma unroll
      for (int s = 0; s < STEPS; ++s) tile.w[u][s] = load_weights(matrix + (at * STEPS + s) * 32 + lane);
    } else {
#pragma unroll
      for (int s = 0; s < STEPS; ++s) tile.w[u][s] = make_uint4(0, 0, 0, 0);
    }
  }
}

// shared.input times the tile; the warps' shares of the sums are in shared.totals afterwards.
template <int UNITS, int STEPS>
__device__ __forceinline__ void product(Shared& shared, const Tile<UNITS, STEPS>& tile) {
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32, row = lane / 4, part = lane % 4;
  float sums[UNITS][4];
#pragma unroll
  for (int u = 0; u < UNITS; ++u) sums[u][0] = sums[u][1] = sums[u][2] = sums[u][3] = 0;
#pragma unroll
  for (int s = 0; s < STEPS; ++s) {
    uint4 x = make_uint4(0, 0, 0, 0);
    if (row < ROWS) x = *(const uint4*)&shared.input[row][(warp * STEPS + s) * 32 + part * 8];
#pragma unroll
    for (int u = 0; u < UNITS; ++u) {
      multiply(sums[u], x.x, x.y, tile.w[u][s].x, tile.w[u][s].y);
      multiply(sums[u], x.z, x.w, tile.w[u][s].z, tile.w[u][s].w);
    }
  }
  if (row < ROWS) {
#pragma unroll
    for (int u = 0; u < UNITS; ++u) {
      shared.totals[warp][u][row][2 * part] = sums[u][0];
      shared.totals[warp][u][row][2 * part + 1] = sums[u][1];
    }
  }
  __syncthreads();
}

__device__ __forceinline__ float total(const Shared& shared, int unit, int row, int column) {
  float sum = 0;
#pragma unroll
  for (int warp = 0; warp < WARPS; ++warp) sum += shared.totals[warp][unit][row][column];
  return sum;
}

__device__ __forceinline__ float sum_of_block(Shared& shared, float x) {
#pragma unroll
  for (int apart = 16; apart; apart /= 2) x += __shfl_xor_sync(~0u, x, apart);
  if (threadIdx.x % 32 == 0) shared.scratch[threadIdx.x / 32] = x;
  __syncthreads();
  float sum = 0;
#pragma unroll
  for (int warp = 0; warp < WARPS; ++warp) sum += shared.scratch[warp];
  __syncthreads();
  return sum;
}

// The residual's rows, four columns a thread, normed into shared.input. A row of bfloat16 if `table` is given.
__device__ __forceinline__ void norm(Shared& shared, const float* residual, const bf16* table, const bf16* scale) {
  const int column = threadIdx.x * 4;
#pragma unroll
  for (int row = 0; row < ROWS; ++row) {
    float4 x = make_float4(0, 0, 0, 0);
    if (column < WIDTH) {
      if (table) x = make_float4(wide(table[column]), wide(table[column + 1]), wide(table[column + 2]), wide(table[column + 3]));
      else x = load_shared_work((const float4*)(residual + row * WIDTH + column));
    }
    const float power = sum_of_block(shared, x.x * x.x + x.y * x.y + x.z * x.z + x.w * x.w) / WIDTH;
    const float factor = rsqrtf(power + EPSILON);
    if (column < WIDTH) {
      shared.input[row][column] = narrow(wide(narrow(x.x * factor)) * wide(scale[column]));
      shared.input[row][column + 1] = narrow(wide(narrow(x.y * factor)) * wide(scale[column + 1]));
      shared.input[row][column + 2] = narrow(wide(narrow(x.z * factor)) * wide(scale[column + 2]));
      shared.input[row][column + 3] = narrow(wide(narrow(x.w * factor)) * wide(scale[column + 3]));
    }
  }
  __syncthreads();
}

// Keys and values of positions first..end-1 from the cache [2][ROWS][LEVELS][JOINED] into shared.past.
__device__ __forceinline__ void copy_past(Shared& shared, const bf16* cache, int first, int end) {
  constexpr int PIECES = JOINED / 8;
  const int many = 2 * ROWS * (end - first) * PIECES;
  for (int i = threadIdx.x; i < many; i += THREADS) {
    const int piece = i % PIECES, rest = i / PIECES, position = first + rest % (end - first), which = rest / (end - first);
    copy_async(&shared.past[which / ROWS][which % ROWS][position][piece * 8],
               cache + ((size_t)which * LEVELS + position) * JOINED + piece * 8);
  }
}

// Attention of the newest position to all up to it, a warp a head; the result goes into shared.input.
__device__ __forceinline__ void attend(Shared& shared, const bf16* bias, int level) {
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32, half = lane % 2;
  for (int task = warp; task < HEADS * ROWS; task += WARPS) {
    const int head = task % HEADS, row = task / HEADS;
    // Sixteen positions at a time, two lanes each.
    float share[(LEVELS + 15) / 16], highest = -1e30f;
#pragma unroll
    for (int group = 0; group < (LEVELS + 15) / 16; ++group) {
      const int position = group * 16 + lane / 2;
      float score = 0;
      if (position <= level) {
        const uint4* q = (const uint4*)&shared.query[row][head * HEAD + half * 32];
        const uint4* k = (const uint4*)&shared.past[0][row][position][head * HEAD + half * 32];
#pragma unroll
        for (int i = 0; i < 4; ++i) {
          const unsigned qs[4] = {q[i].x, q[i].y, q[i].z, q[i].w}, ks[4] = {k[i].x, k[i].y, k[i].z, k[i].w};
#pragma unroll
          for (int j = 0; j < 4; ++j)
            score += __uint_as_float(qs[j] << 16) * __uint_as_float(ks[j] << 16) +
                     __uint_as_float(qs[j] & 0xffff0000u) * __uint_as_float(ks[j] & 0xffff0000u);
        }
      }
      score += __shfl_xor_sync(~0u, score, 1);
      score = position <= level ? score + wide(bias[(head * LEVELS + level) * LEVELS + position]) : -1e30f;
      share[group] = score;
      highest = fmaxf(highest, score);
    }
#pragma unroll
    for (int apart = 2; apart < 32; apart *= 2) highest = fmaxf(highest, __shfl_xor_sync(~0u, highest, apart));
    float sum = 0;
#pragma unroll
    for (int group = 0; group < (LEVELS + 15) / 16; ++group) {
      share[group] = group * 16 + lane / 2 <= level ? expf(share[group] - highest) : 0;
      sum += share[group];
    }
#pragma unroll
    for (int apart = 2; apart < 32; apart *= 2) sum += __shfl_xor_sync(~0u, sum, apart);
    float low = 0, high = 0;
#pragma unroll
    for (int group = 0; group < (LEVELS + 15) / 16; ++group) {
      for (int i = 0; i < 16; ++i) {
        const float weight = __shfl_sync(~0u, share[group], i * 2) / sum;
        if (group * 16 + i > level) break;
        const unsigned v = *(const unsigned*)&shared.past[1][row][group * 16 + i][head * HEAD + lane * 2];
        low += weight * __uint_as_float(v << 16);
        high += weight * __uint_as_float(v & 0xffff0000u);
      }
    }
    *(unsigned*)&shared.input[row][head * HEAD + lane * 2] = narrow(low) | (unsigned)narrow(high) << 16;
  }
  __syncthreads();
}

__device__ __forceinline__ float gelu(float x) {
  return 0.5f * x * (1 + tanhf(0.7978845608028654f * (x + 0.044715f * x * x * x)));
}

// Floats in an order that unsigned integers keep.
__device__ __forceinline__ unsigned ordered(float x) {
  const unsigned bits = __float_as_uint(x);
  return bits & 0x80000000u ? ~bits : bits | 0x80000000u;
}

struct Controls {
  float guidance, temperature;
  int top_k;
};

// The code drawn from the logits [ROWS][CODES], the same in every block.
__device__ __forceinline__ int draw(Shared& shared, const float* logits, const float* noise, Controls controls) {
  constexpr int EACH = divide_up(CODES, THREADS);
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  float value[EACH];
  unsigned key[EACH], threshold = 0;
#pragma unroll
  for (int i = 0; i < EACH; ++i) {
    const int code = threadIdx.x + i * THREADS;
    value[i] = 0, key[i] = 0;
    if (code < CODES) {
      value[i] = load_shared_work(logits + code);
      if (ROWS == 2)
        value[i] = (1 + controls.guidance) * value[i] - controls.guidance * load_shared_work(logits + CODES + code);
      key[i] = ordered(value[i]);
    }
  }
  // The largest threshold that the k largest reach, bit by bit.
  for (int bit = 31; controls.top_k > 0 && bit >= 0; --bit) {
    const unsigned candidate = threshold | 1u << bit;
    unsigned reach = 0;
#pragma unroll
    for (int i = 0; i < EACH; ++i) reach += key[i] >= candidate;
    reach = __reduce_add_sync(~0u, reach);
    if (lane == 0) shared.counts[bit % 2][warp] = reach;
    __syncthreads();
    reach = 0;
#pragma unroll
    for (int w = 0; w < WARPS; ++w) reach += shared.counts[bit % 2][w];
    if (reach >= (unsigned)controls.top_k) threshold = candidate;
  }
  float highest = -1e30f;
  int best = 0;
#pragma unroll
  for (int i = 0; i < EACH; ++i) {
    const int code = threadIdx.x + i * THREADS;
    if (code < CODES && key[i] >= threshold) {
      const float drawn = value[i] / fmaxf(controls.temperature, 1e-4f) + (controls.temperature > 1e-4f ? noise[code] : 0);
      if (drawn > highest) highest = drawn, best = code;
    }
  }
#pragma unroll
  for (int apart = 16; apart; apart /= 2) {
    const float other = __shfl_xor_sync(~0u, highest, apart);
    const int its = __shfl_xor_sync(~0u, best, apart);
    if (other > highest || (other == highest && its < best)) highest = other, best = its;
  }
  if (lane == 0) shared.scratch[warp] = highest, shared.best[warp] = best;
  __syncthreads();
#pragma unroll
  for (int w = 0; w < WARPS; ++w)
    if (shared.scratch[w] > highest || (shared.scratch[w] == highest && shared.best[w] < best))
      highest = shared.scratch[w], best = shared.best[w];
  __syncthreads();
  return best;
}

// Joined layers: every matrix has its layers one after the other.
extern "C" __global__ void __launch_bounds__(256, 1)
depth_frame(const uint4* qkv, const uint4* out, const uint4* gate_up, const uint4* down, const bf16* norms,
            const bf16* mlp_norms, const bf16* last_norm, const uint4* projection, const bf16* embedding, const bf16* bias,
            const float* context,    // [ROWS][WIDTH]: what the temporal stack says of the frame
            const float* noise,      // [LEVELS][CODES]
            const int* known,        // [LEVELS]: codes that are not drawn, or -1
            const float* dials,      // guidance, temperature, top k, id of level 0's code 0
            const unsigned* zeros, int* codes, float* mean, unsigned* count, float* residual, bf16* queries, bf16* cache,
            bf16* inner, float* logits) {
  DYNAMIC_SHARED(bytes);
  Shared& shared = *(Shared*)bytes;
  const Controls controls = {dials[0], dials[1], (int)dials[2]};
  const int first_id = (int)dials[3], i = threadIdx.x, row = i / 8 % ROWS, unit = i / (8 * ROWS), column = i % 8;
  const int own = (blockIdx.x + unit * BLOCKS) * 8 + column;  // this thread's column of the residual, if it has one
  const bool owner = unit < OUT && own < WIDTH;
  float mine = owner ? context[row * WIDTH + own] : 0, sum = 0;
  const bf16* table = nullptr;
  unsigned passed = 0;
  constexpr size_t CACHE = (size_t)2 * ROWS * LEVELS * JOINED;

  // Between the halves of a barrier nothing is written that others read.
#define BARRIER()                                                   \
  {                                                                 \
    __syncthreads();                                                \
    ++passed;                                                       \
    if (threadIdx.x == 0) {                                         \
      arrive(count);                                                \
      while (arrived(count) < passed * BLOCKS) YIELD;               \
    }                                                               \
    __syncthreads();                                                \
  }

  Tile<QKV, WIDE> first;
  fetch(first, qkv, QKV_UNITS);
  for (int level = 0; level < LEVELS; ++level) {
    Tile<PROJECT, WIDE> last;
    for (int layer = 0; layer < LAYERS; ++layer) {
      bf16* own_cache = cache + layer * CACHE;
      Tile<OUT, JOINT> second;
      fetch(second, out + (size_t)layer * OUT_UNITS * JOINED, OUT_UNITS);
      if (level) copy_past(shared, own_cache, 0, level);
      norm(shared, level || layer ? residual : context, layer ? nullptr : table, norms + layer * WIDTH);
      product(shared, first);
      for (int j = i; j < QKV * ROWS * 8; j += THREADS) {
        const int u = j / (8 * ROWS), r = j / 8 % ROWS, n = (blockIdx.x + u * BLOCKS) * 8 + j % 8;
        if (n >= 3 * JOINED) continue;
        const bf16 value = narrow(total(shared, u, r, j % 8));
        if (n < JOINED) queries[r * JOINED + n] = value;
        else own_cache[(((n / JOINED - 1) * ROWS + r) * (size_t)LEVELS + level) * JOINED + n % JOINED] = value;
      }
      BARRIER()

      Tile<2 * GATES, WIDE> third;
      fetch(third, gate_up + (size_t)layer * 2 * INNER_UNITS * WIDTH, INNER_UNITS, 2, INNER_UNITS);
      copy_past(shared, own_cache, level, level + 1);
      for (int j = i; j < ROWS * JOINED / 8; j += THREADS)
        copy_async(&shared.query[j / (JOINED / 8)][j % (JOINED / 8) * 8], queries + j * 8);
      copies_done();
      __syncthreads();
      attend(shared, bias, level);
      product(shared, second);
      if (owner) residual[row * WIDTH + own] = mine += total(shared, unit, row, column);
      BARRIER()

      Tile<OUT, DEEP> fourth;
      fetch(fourth, down + (size_t)layer * OUT_UNITS * INNER, OUT_UNITS);
      norm(shared, residual, nullptr, mlp_norms + layer * WIDTH);
      product(shared, third);
      for (int j = i; j < GATES * ROWS * 8; j += THREADS) {
        const int u = j / (8 * ROWS), r = j / 8 % ROWS, n = (blockIdx.x + u * BLOCKS) * 8 + j % 8;
        if (n < INNER)
          inner[r * INNER + n] = narrow(wide(narrow(gelu(wide(narrow(total(shared, 2 * u, r, j % 8)))))) *
                                        wide(narrow(total(shared, 2 * u + 1, r, j % 8))));
      }
      BARRIER()

      if (layer + 1 < LAYERS) fetch(first, qkv + (size_t)(layer + 1) * QKV_UNITS * WIDTH, QKV_UNITS);
      else fetch(last, projection + (size_t)level * CODE_UNITS * WIDTH, CODE_UNITS);
      for (int j = i; j < ROWS * INNER / 8; j += THREADS)
        copy_async(&shared.input[j / (INNER / 8)][j % (INNER / 8) * 8], inner + j * 8);
      copies_done();
      __syncthreads();
      product(shared, fourth);
      if (owner) residual[row * WIDTH + own] = mine += total(shared, unit, row, column);
      BARRIER()
    }
    fetch(first, qkv, QKV_UNITS);
    norm(shared, residual, nullptr, last_norm);
    product(shared, last);
    for (int j = i; j < PROJECT * ROWS * 8; j += THREADS) {
      const int u = j / (8 * ROWS), r = j / 8 % ROWS, n = (blockIdx.x + u * BLOCKS) * 8 + j % 8;
      if (n < CODES) logits[r * CODES + n] = total(shared, u, r, j % 8);
    }
    BARRIER()
    int code = draw(shared, logits, noise + level * CODES, controls);
    if (known[level] >= 0) code = known[level];
    if (blockIdx.x == 0 && i == 0) codes[level] = code;
    table = embedding + (size_t)(first_id + level * CODES + code) * WIDTH;
    if (owner) sum += mine = wide(table[own]);
  }
  if (owner) mean[row * WIDTH + own] = sum / LEVELS;
}

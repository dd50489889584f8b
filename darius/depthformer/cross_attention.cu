// What the heads of every row hear of the encoder's output when that output itself stands for keys and values: it is
// read once for all heads. A block takes one row, a warp an eighth of the width, of every vector.
//
// Products are m16n8k16 of the tensor cores, bfloat16 in, float32 out; heads are the rows of A, 16 with those unused.
// Constants: HEADS WIDTH LENGTH (vectors of a row) TILE (vectors at a time, a multiple of 16) STAGES (tiles on the way).
// WIDTH is a multiple of 256. bfloat16 is here its 16 bits.

typedef unsigned short bf16;

#ifndef EMULATED
#define DYNAMIC_SHARED(name) extern __shared__ __align__(16) unsigned char name[]
__device__ __forceinline__ void copy_async(void* to, const void* from, bool wanted) {
  const unsigned target = (unsigned)__cvta_generic_to_shared(to);
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(target), "l"(from), "r"(wanted ? 16 : 0) : "memory");
}
__device__ __forceinline__ void copies_go() { asm volatile("cp.async.commit_group;" ::: "memory"); }
__device__ __forceinline__ void copies_but(int) { asm volatile("cp.async.wait_group %0;" ::"n"(STAGES - 2) : "memory"); }
// Four matrices of 8 x 8, whose rows the lanes point to, eight lanes a matrix.
__device__ __forceinline__ void load_matrices(unsigned r[4], const bf16* row) {
  const unsigned at = (unsigned)__cvta_generic_to_shared(row);
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3]) : "r"(at) : "memory");
}
__device__ __forceinline__ void load_transposed(unsigned r[4], const bf16* row) {
  const unsigned at = (unsigned)__cvta_generic_to_shared(row);
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3]) : "r"(at) : "memory");
}
__device__ __forceinline__ void multiply_all(float d[4], const unsigned a[4], unsigned b0, unsigned b1) {
  asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
               : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3]) : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}
#endif

constexpr int THREADS = 256, WARPS = 8, SLICE = WIDTH / WARPS, STRIDE = SLICE + 8;
constexpr int TILES = (LENGTH + TILE - 1) / TILE, EACH = TILE / 16;
constexpr float NOTHING = -3.0e38f;

struct Shared {
  bf16 vectors[STAGES][WARPS][TILE][STRIDE];  // each warp fetches and reads its own slice
  float parts[WARPS][16][TILE + 4];           // the warps' shares of the scores
  bf16 shares[16][TILE + 8];
  float scale[16];
};

__device__ __forceinline__ bf16 narrow(float x) {
  const unsigned bits = __float_as_uint(x);
  return (bf16)((bits + 0x7fff + ((bits >> 16) & 1)) >> 16);
}
__device__ __forceinline__ unsigned pair(float low, float high) { return narrow(low) | (unsigned)narrow(high) << 16; }
__device__ __forceinline__ float wide(bf16 x) { return __uint_as_float((unsigned)x << 16); }

__device__ __forceinline__ void fetch(Shared& shared, const bf16* row, int tile) {
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  if (tile < TILES)
    for (int i = lane; i < TILE * SLICE / 8; i += 32) {
      const int vector = i / (SLICE / 8), chunk = i % (SLICE / 8) * 8, place = tile * TILE + vector;
      const bool there = place < LENGTH;
      copy_async(&shared.vectors[tile % STAGES][warp][vector][chunk], row + (size_t)(there ? place : 0) * WIDTH + warp * SLICE + chunk, there);
    }
  copies_go();
}

// query and out: [HEADS][rows][WIDTH]; encoded: [rows][LENGTH][WIDTH]; bias, added to the scores: [rows][LENGTH].
extern "C" __global__ void __launch_bounds__(THREADS, 1)
cross_attention(const bf16* query, const bf16* encoded, const float* bias, bf16* out) {
  DYNAMIC_SHARED(bytes);
  Shared& shared = *(Shared*)bytes;
  const int rows = gridDim.x, row = blockIdx.x;
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32, low = lane / 4, high = low + 8, part = lane % 4 * 2;
  const int head = threadIdx.x / 16, mine = threadIdx.x % 16 * EACH;  // in the softmax
  const bf16* vectors = encoded + (size_t)row * LENGTH * WIDTH;
  bias += (size_t)row * LENGTH;
  for (int tile = 0; tile < STAGES - 1; ++tile) fetch(shared, vectors, tile);

  unsigned a[SLICE / 16][4];
#pragma unroll
  for (int k = 0; k < SLICE / 16; ++k)
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const int h = i % 2 ? high : low, at = warp * SLICE + k * 16 + part + i / 2 * 8;
      a[k][i] = h < HEADS ? *(const unsigned*)&query[((size_t)h * rows + row) * WIDTH + at] : 0;
    }
  float sums[SLICE / 8][4];
#pragma unroll
  for (int n = 0; n < SLICE / 8; ++n) sums[n][0] = sums[n][1] = sums[n][2] = sums[n][3] = 0;
  float most = NOTHING, total = 0;

  for (int tile = 0; tile < TILES; ++tile) {
    float added[EACH];
#pragma unroll
    for (int i = 0; i < EACH; ++i) {
      const int place = tile * TILE + mine + i;
      added[i] = place < LENGTH ? bias[place] : NOTHING;
    }
    copies_but(STAGES - 2);
    __syncwarp();
    fetch(shared, vectors, tile + STAGES - 1);
    const auto& here = shared.vectors[tile % STAGES][warp];
#pragma unroll
    for (int n = 0; n < TILE / 8; ++n) {
      float score[4] = {0, 0, 0, 0};
#pragma unroll
      for (int k = 0; k < SLICE / 32; ++k) {
        unsigned b[4];
        load_matrices(b, &here[n * 8 + lane % 8][k * 32 + lane / 8 * 8]);
        multiply_all(score, a[2 * k], b[0], b[1]);
        multiply_all(score, a[2 * k + 1], b[2], b[3]);
      }
      float* to = &shared.parts[warp][low][n * 8 + part];
      to[0] = score[0], to[1] = score[1];
      to += 8 * (TILE + 4);
      to[0] = score[2], to[1] = score[3];
    }
    __syncthreads();
    float score[EACH], top = most, more = 0;
#pragma unroll
    for (int i = 0; i < EACH; ++i) {
      score[i] = added[i];
#pragma unroll
      for (int w = 0; w < WARPS; ++w) score[i] += shared.parts[w][head][mine + i];
      top = fmaxf(top, score[i]);
    }
#pragma unroll
    for (int apart = 8; apart; apart /= 2) top = fmaxf(top, __shfl_xor_sync(~0u, top, apart));
#pragma unroll
    for (int i = 0; i < EACH; ++i) {
      const bf16 share = narrow(__expf(score[i] - top));
      shared.shares[head][mine + i] = share;
      more += wide(share);
    }
#pragma unroll
    for (int apart = 8; apart; apart /= 2) more += __shfl_xor_sync(~0u, more, apart);
    const float before = __expf(most - top);
    total = total * before + more;
    most = top;
    if (threadIdx.x % 16 == 0) shared.scale[head] = before;
    __syncthreads();
    const float scale_low = shared.scale[low], scale_high = shared.scale[high];
#pragma unroll
    for (int n = 0; n < SLICE / 8; ++n) {
      sums[n][0] *= scale_low, sums[n][1] *= scale_low;
      sums[n][2] *= scale_high, sums[n][3] *= scale_high;
    }
#pragma unroll
    for (int k = 0; k < EACH; ++k) {
      unsigned s[4];
#pragma unroll
      for (int i = 0; i < 4; ++i) s[i] = *(const unsigned*)&shared.shares[i % 2 ? high : low][k * 16 + part + i / 2 * 8];
#pragma unroll
      for (int n = 0; n < SLICE / 16; ++n) {
        unsigned b[4];
        load_transposed(b, &here[k * 16 + lane % 16][n * 16 + lane / 16 * 8]);
        multiply_all(sums[2 * n], s, b[0], b[1]);
        multiply_all(sums[2 * n + 1], s, b[2], b[3]);
      }
    }
    __syncwarp();
  }
  __syncthreads();
  if (threadIdx.x % 16 == 0) shared.scale[head] = 1 / total;
  __syncthreads();
  const float scale_low = shared.scale[low], scale_high = shared.scale[high];
#pragma unroll
  for (int n = 0; n < SLICE / 8; ++n) {
    const int at = warp * SLICE + n * 8 + part;
    if (low < HEADS) *(unsigned*)&out[((size_t)low * rows + row) * WIDTH + at] = pair(sums[n][0] * scale_low, sums[n][1] * scale_low);
    if (high < HEADS) *(unsigned*)&out[((size_t)high * rows + row) * WIDTH + at] = pair(sums[n][2] * scale_high, sums[n][3] * scale_high);
  }
}

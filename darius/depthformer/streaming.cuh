// What the kernels of one stream share: weights that stream through shared memory, words that tell when they are
// there, products of the tensor cores. Knows no layers.
//
// A kernel runs one block on every multiprocessor, all at once. One warp of a block, the sender, has the weights
// copied into a ring of slots, as far ahead as there is room, whatever the others wait for: weights depend on nothing.
// Blocks exchange vectors through boards in global memory, eight bfloat16 at a time. No barrier separates writing from
// reading: the lowest bit of the first of the eight is their tag, which alternates with every use of their board, so who
// reads them knows whether they are new (logits are float32, each with a tag). A board may be written again once every
// reader has written something that the writer has since read.
//
// Constants: ROWS (2 with guidance: conditioned, unconditioned; else 1), WIDTH (of the residual, and all heads side by
// side), HEADS, INNER (of the MLP), BLOCKS, SLOTS, SLOT_INPUTS, WINDOW, EPSILON. HEAD is 64; WIDTH, INNER and
// SLOT_INPUTS are multiples of 256. BITS of a matrix' weights: 16 for bfloat16, 8 for integers with a scale an output.
// Norms, tables and caches are bfloat16, here as its 16 bits.
#pragma once

#include "boards.cuh"

// A matrix lies in units of GROUPS times eight outputs, unit after unit; those of a block are blockIdx.x, blockIdx.x +
// BLOCKS, ... A slot holds eight outputs' weights of SLOT_INPUTS inputs at most. Order within: see `fused.fragments`.
// Eight outputs' weights of 8 bits begin with their scales.
constexpr int SCALES = BITS == 8 ? 32 : 0;  // bytes
constexpr int STEPS = BITS / 2;             // of a tile of 256 inputs, a warp each; 512 bytes
template <int COUNT_, int GROUPS_, int INPUTS_>
struct Matrix {
  static constexpr int COUNT = COUNT_, GROUPS = GROUPS_, INPUTS = INPUTS_;
  static constexpr int MOST = divide_up(COUNT, BLOCKS), PARTS = divide_up(INPUTS, SLOT_INPUTS), TILES = INPUTS / 256;
  static constexpr size_t EIGHT = INPUTS * BITS + SCALES, BYTES = COUNT * GROUPS * EIGHT;
  static __device__ __forceinline__ int mine() { return (COUNT - (int)blockIdx.x + BLOCKS - 1) / BLOCKS; }
};
typedef Matrix<3 * WIDTH / 8, 1, WIDTH> QueryKeyValue;
typedef Matrix<WIDTH / 8, 1, WIDTH> Out;
typedef Matrix<INNER / 8, 2, WIDTH> GateUp;
typedef Matrix<WIDTH / 8, 1, INNER> Down;

constexpr int SLOT_BYTES = SLOT_INPUTS * BITS + SCALES, SLOT_TILES = SLOT_INPUTS / 256, TILE_BYTES = 256 * BITS;

struct Ring {
  unsigned char slots[SLOTS][SLOT_BYTES];
  Gate full[SLOTS], empty[SLOTS];
};

__device__ __forceinline__ void make(Ring& ring) {
  if (threadIdx.x == 0) {
    for (int i = 0; i < SLOTS; ++i) make_gate(&ring.full[i], 1), make_gate(&ring.empty[i], 1);
    gates_made();
  }
  __syncthreads();
}

// Until the ring's n-th slot is full.
__device__ __forceinline__ void wait_for(Ring& ring, unsigned n) {
  while (!open(&ring.full[n % SLOTS], n / SLOTS & 1)) YIELD;
}

// The sender's side, one thread; `sent` slots so far. No more than WINDOW are on their way at a time: more would be in
// the way of the boards' words.
__device__ __forceinline__ void send(Ring& ring, unsigned& sent, const unsigned char* from, unsigned bytes, bool keeping) {
  const unsigned slot = sent % SLOTS, round = sent / SLOTS;
  if (round) while (!open(&ring.empty[slot], (round - 1) & 1)) YIELD;
  if (sent >= WINDOW) wait_for(ring, sent - WINDOW);
  copy_through(ring.slots[slot], from, bytes, &ring.full[slot], keeping);
  ++sent;
}
template <class M>
__device__ __forceinline__ void send_matrix(Ring& ring, unsigned& sent, const unsigned char* matrix, bool keeping) {
  for (int unit = blockIdx.x; unit < M::COUNT; unit += BLOCKS)
    for (int group = 0; group < M::GROUPS; ++group)
      for (int at = 0; at < M::INPUTS; at += SLOT_INPUTS) {
        const int before = at ? SCALES : 0, bytes = least(M::INPUTS - at, SLOT_INPUTS) * BITS + SCALES - before;
        send(ring, sent, matrix + (unit * M::GROUPS + group) * M::EIGHT + at * BITS + before, bytes, keeping);
      }
}

// The others' side; `taken` slots so far. All meet, the next slots are full and all that was written before is there.
__device__ __forceinline__ void meet_for(Ring& ring, unsigned taken, int many) {
  if (threadIdx.x >= THREADS - 32)
    for (int i = threadIdx.x % 32; i < many; i += 32) wait_for(ring, taken + i);
  meet();
}
// All meet, the slots are free.
__device__ __forceinline__ void meet_and_free(Ring& ring, unsigned& taken, int many) {
  meet();
  if (threadIdx.x < many) arrive(&ring.empty[(taken + threadIdx.x) % SLOTS]);
  taken += many;
}

template <int TOTALS>
struct Workplace {
#if BITS == 8
  alignas(16) signed char input[2][ROWS][most(WIDTH, INNER) + 64];  // as below in 16 bits: 256 times the first, plus the second
  float factors[ROWS];            // of a row's 1
  unsigned peaks[ROWS][WARPS];    // its largest, each warp's share
#else
  alignas(16) bf16 input[ROWS][most(WIDTH, INNER) + PAD];  // what the present product reads
#endif
  float totals[WARPS][TOTALS][8][ROWS];  // its sums, each warp's share
  float powers[2][WARPS];                // sums of squares of the residual's parts; even and odd phases
};

// The tensor cores' operands of a step of 512 / BITS inputs: eight outputs' weights are A, those of half of the inputs
// in its rows 0 to 7, of the other half in rows 8 to 15; the stream's rows are columns 0 and 1 of B for the one half, 2
// and 3 for the other; of 8 bits 4 to 7 are the same for the rows' lower halves. So A is what a lane reads in one piece.
template <class Work>
__device__ __forceinline__ uint2 step_inputs(const Work& work, int tile) {
  const int column = threadIdx.x % 32 / 4, row = column % 2, first = tile * 256 + threadIdx.x / 32 % STEPS * (512 / BITS);
  if (row >= ROWS) return make_uint2(0, 0);
#if BITS == 8
  const uint4 x = *(const uint4*)&work.input[column / 4][row][first + threadIdx.x % 4 * 16];
#else
  if (column >= 4) return make_uint2(0, 0);
  const uint4 x = *(const uint4*)&work.input[row][first + threadIdx.x % 4 * 8];
#endif
  return column % 4 < 2 ? make_uint2(x.x, x.z) : make_uint2(x.y, x.w);
}
// What lanes 0, 4, 8, ... then know: an output's sums, of both rows.
__device__ __forceinline__ float2 step_sums(const float d[4]) {
  const bool first = threadIdx.x % 2 == 0;
  const float2 mine = first ? make_float2(d[0], d[1]) : make_float2(d[2], d[3]);
  return make_float2(mine.x + __shfl_xor_sync(~0u, mine.x, 1), mine.y + __shfl_xor_sync(~0u, mine.y, 1));
}
__device__ __forceinline__ float2 step_sums(const int d[4]) {
  const float floats[4] = {(float)d[0], (float)d[1], (float)d[2], (float)d[3]};
  const float2 mine = step_sums(floats);  // of upper halves in lanes 0 and 1, of lower ones in 2 and 3
  return make_float2(256 * mine.x + __shfl_xor_sync(~0u, mine.x, 2), 256 * mine.y + __shfl_xor_sync(~0u, mine.y, 2));
}

// The input times the block's units of a matrix; a warp takes a step of every (WARPS / STEPS)th tile of 256 inputs.
template <class M, class Work>
__device__ __forceinline__ void product(Ring& ring, unsigned& taken, Work& work) {
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32, step = warp % STEPS;
  constexpr int OUTPUTS = M::MOST * M::GROUPS, AT_ONCE = WARPS / STEPS;
  const int many = M::mine() * M::GROUPS * M::PARTS;
  meet_for(ring, taken, many);
#if BITS == 8
  int sums[OUTPUTS][4] = {};
#else
  float sums[OUTPUTS][4] = {};
#endif
#pragma unroll
  for (int tiles = 0; tiles < M::TILES; tiles += AT_ONCE) {
    const int tile = tiles + warp / STEPS;
    if (M::TILES % AT_ONCE && tile >= M::TILES) break;
    const uint2 x = step_inputs(work, tile);
#pragma unroll
    for (int output = 0; output < OUTPUTS; ++output) {  // whatever lies in slots that are not the block's
      const unsigned slot = (taken + output * M::PARTS + tile / SLOT_TILES) % SLOTS;
      const int before = tile < SLOT_TILES ? SCALES : 0;
      multiply(sums[output], *(const uint4*)(ring.slots[slot] + before + tile % SLOT_TILES * TILE_BYTES + (step * 32 + lane) * 16), x);
    }
  }
#pragma unroll
  for (int output = 0; output < OUTPUTS; ++output) {
    float2 sum = step_sums(sums[output]);
#if BITS == 8
    const float scale = ((const float*)ring.slots[(taken + output * M::PARTS) % SLOTS])[lane / 4];
    sum = make_float2(sum.x * (scale * work.factors[0]), sum.y * (scale * work.factors[ROWS - 1]));
#endif
    if (lane % 4 == 0) {
      work.totals[warp][output][lane / 4][0] = sum.x;
      if (ROWS == 2) work.totals[warp][output][lane / 4][ROWS - 1] = sum.y;
    }
  }
  meet_and_free(ring, taken, many);
}

template <class Work>
__device__ __forceinline__ float total(const Work& work, int output, int row, int column) {
  float even = 0, odd = 0;
#pragma unroll
  for (int warp = 0; warp < WARPS; warp += 2) {
    even += work.totals[warp][output][column][row];
    odd += work.totals[warp + 1][output][column][row];
  }
  return even + odd;
}

// Eight neighbours each become the input: VECTORS times a row, row after row, a thread's every THREADS apart.
template <int VECTORS, int MANY, class Work>
__device__ __forceinline__ void put(Work& work, const Eight (&x)[MANY]) {
#if BITS == 8
  unsigned peaks[ROWS] = {};  // floats that are not negative have the order of their bits
#pragma unroll
  for (int i = 0; i < MANY; ++i) {
    const int row = (threadIdx.x + i * THREADS) / VECTORS;
    float peak = 0;
#pragma unroll
    for (int j = 0; j < 8; ++j) peak = fmaxf(peak, fabsf(x[i].v[j]));
#pragma unroll
    for (int r = 0; r < ROWS; ++r)
      if (row == r && __float_as_uint(peak) > peaks[r]) peaks[r] = __float_as_uint(peak);
  }
#pragma unroll
  for (int r = 0; r < ROWS; ++r) {
    peaks[r] = __reduce_max_sync(~0u, peaks[r]);
    if (threadIdx.x % 32 == 0) work.peaks[r][threadIdx.x / 32] = peaks[r];
  }
  meet();
  float inverse[ROWS];
#pragma unroll
  for (int r = 0; r < ROWS; ++r) {
    const float peak = fmaxf(__uint_as_float(__reduce_max_sync(~0u, work.peaks[r][threadIdx.x % WARPS])), 1e-30f);
    inverse[r] = 127 * 256 / peak;
    if (threadIdx.x == 0) work.factors[r] = peak / (127 * 256);
  }
#endif
#pragma unroll
  for (int i = 0; i < MANY; ++i) {
    const int vector = threadIdx.x + i * THREADS, row = vector / VECTORS, column = vector % VECTORS * 8;
    if (row >= ROWS) continue;
    const float* v = x[i].v;
#if BITS == 8
    const float by = inverse[row ? ROWS - 1 : 0];
    unsigned upper[2] = {}, lower[2] = {};
#pragma unroll
    for (int j = 0; j < 8; ++j) {
      const int whole = __float2int_rn(v[j] * by), high = (whole + 128) >> 8;
      upper[j / 4] |= (high & 255u) << 8 * (j % 4), lower[j / 4] |= (whole & 255u) << 8 * (j % 4);
    }
    *(uint2*)&work.input[0][row][column] = make_uint2(upper[0], upper[1]);
    *(uint2*)&work.input[1][row][column] = make_uint2(lower[0], lower[1]);
#else
    *(uint4*)&work.input[row][column] = make_uint4(pair(v[0], v[1]), pair(v[2], v[3]), pair(v[4], v[5]), pair(v[6], v[7]));
#endif
  }
}

// Rows of the residual times a norm's scale become the input; the norm's factor is left to the product's end.
// read(row, column) gives eight neighbours.
template <class Work, class Read>
__device__ __forceinline__ void take_residual(Work& work, int phase, const bf16* scale, Read read) {
  constexpr int EACH = WIDTH / 8;
  const int row = threadIdx.x / EACH, column = threadIdx.x % EACH * 8;
  Eight scaled[1] = {};
  if (row < ROWS) {
    const Eight s = eight(scale + column), x = read(row, column);
    float power = 0;
#pragma unroll
    for (int j = 0; j < 8; ++j) scaled[0].v[j] = x.v[j] * s.v[j], power += x.v[j] * x.v[j];
#pragma unroll
    for (int apart = 16; apart; apart /= 2) power += __shfl_xor_sync(~0u, power, apart);
    if (threadIdx.x % 32 == 0) work.powers[phase % 2][threadIdx.x / 32] = power;
  }
  put<EACH>(work, scaled);
}
template <class Work>
__device__ __forceinline__ float norm_factor(const Work& work, int phase, int row) {
  constexpr int EACH = WIDTH / 256;
  float power = 0;
#pragma unroll
  for (int warp = 0; warp < EACH; ++warp) power += work.powers[phase % 2][row * EACH + warp];
  return rsqrtf(power / WIDTH + EPSILON);
}

// A board of rows becomes the input.
template <int LENGTH, class Work>
__device__ __forceinline__ void take_board(Work& work, unsigned* board, unsigned tag) {
  constexpr int EACH = LENGTH / 8, ALL = ROWS * EACH, MANY = divide_up(ALL, THREADS);
  const int many = (ALL - (int)threadIdx.x + THREADS - 1) / THREADS;
  const unsigned* at[MANY];
  uint4 v[MANY] = {};
#pragma unroll
  for (int i = 0; i < MANY; ++i) at[i] = place(board, 8 * (threadIdx.x + i * THREADS));
  if (many > 0) await(v, at, many, [=](uint4 x) { return fresh(x, tag); });
#if BITS == 8
  Eight x[MANY];
#pragma unroll
  for (int i = 0; i < MANY; ++i) x[i] = wide(v[i]);
  put<EACH>(work, x);
#else
#pragma unroll
  for (int i = 0; i < MANY; ++i) {
    const int vector = threadIdx.x + i * THREADS;
    if (vector < ALL) *(uint4*)&work.input[vector / EACH][vector % EACH * 8] = v[i];
  }
#endif
}

// 0.5 x (1 + tanh(...)), told by the logistic function.
__device__ __forceinline__ float gelu(float x) {
  return x / (1 + expf(-2 * 0.7978845608028654f * (x + 0.044715f * x * x * x)));
}

// What comes of a product, told on a board [ROWS][WHOLE]: value(unit, row, column of its eight) of the
// block's units.
template <class M, int WHOLE, class Value>
__device__ __forceinline__ void publish_units(unsigned* board, unsigned tag, Value value) {
  const int all = M::mine() * ROWS * 8;
  for (int j = threadIdx.x; j - (int)threadIdx.x % 32 < all; j += THREADS) {
    const bool any = j < all;
    const int u = any ? j / (8 * ROWS) : 0, row = j / 8 % ROWS;
    publish(board, row * WHOLE + (blockIdx.x + u * BLOCKS) * 8 + j % 8, value(u, row, j % 8), tag, any);
  }
}

// The gated MLP's middle, gelu(gate) * up, of the product with GateUp.
template <class Work>
__device__ __forceinline__ void publish_inner(const Work& work, unsigned* board, int phase, unsigned tag) {
  publish_units<GateUp, INNER>(board, tag, [&](int u, int row, int column) {
    const float factor = norm_factor(work, phase, row);
    const float gate = wide(narrow(gelu(wide(narrow(total(work, 2 * u, row, column) * factor)))));
    return gate * wide(narrow(total(work, 2 * u + 1, row, column) * factor));
  });
}

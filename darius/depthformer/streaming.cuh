// What the kernels of one stream share: weights that stream through shared memory, words that tell when they are
// there, products of the tensor cores. Knows no layers.
//
// A kernel runs one block on every multiprocessor, all at once. One warp of a block, the sender, has the weights
// copied into a ring of slots, as far ahead as there is room, whatever the others wait for: weights depend on nothing.
// Blocks exchange vectors through boards in global memory. No barrier separates writing from reading: the lowest bit
// of a word is its tag, which alternates with every use of its board, so who reads a word knows whether it is new.
// A board may be written again once every reader has written something that the writer has since read.
//
// Constants: ROWS (2 with guidance: conditioned, unconditioned; else 1), WIDTH (of the residual, and all heads side by
// side), HEADS, INNER (of the MLP), BLOCKS, SLOTS, EPSILON. HEAD is 64; WIDTH and INNER are multiples of 256.
// Weights and caches are bfloat16, here as its 16 bits.
#pragma once

typedef unsigned short bf16;
typedef unsigned long long Gate;  // an mbarrier

constexpr int HEAD = 64, WARPS = 16, THREADS = 32 * WARPS, SENDER = WARPS, PAD = 8;

#ifndef EMULATED
#define YIELD
#define DYNAMIC_SHARED(name) extern __shared__ __align__(128) unsigned char name[]
__device__ __forceinline__ unsigned shared_address(const void* at) { return (unsigned)__cvta_generic_to_shared(at); }
// Words of other blocks, past the first cache, which does not see what they write.
__device__ __forceinline__ uint4 read_words(const unsigned* at) {
  uint4 v;
  asm volatile("ld.relaxed.gpu.global.v4.u32 {%0,%1,%2,%3}, [%4];"
               : "=r"(v.x), "=r"(v.y), "=r"(v.z), "=r"(v.w) : "l"(at) : "memory");
  return v;
}
__device__ __forceinline__ void write_word(unsigned* at, unsigned word) {
  asm volatile("st.relaxed.gpu.global.u32 [%0], %1;" ::"l"(at), "r"(word) : "memory");
}
// D += A B of m16n8k16, bfloat16 in, float32 out; the stream's rows are the first rows of A, the others are 0.
__device__ __forceinline__ void multiply(float d[4], unsigned a0, unsigned a2, unsigned b0, unsigned b1) {
  asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%5}, {%7,%8}, {%0,%1,%2,%3};"
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3]) : "r"(a0), "r"(0), "r"(a2), "r"(b0), "r"(b1));
}
// Sixteen bytes into shared memory, until `copies_done`.
__device__ __forceinline__ void copy_async(void* to, const void* from) {
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"(shared_address(to)), "l"(from) : "memory");
}
__device__ __forceinline__ void copies_done() { asm volatile("cp.async.wait_all;" ::: "memory"); }
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
#ifdef NO_HINTS
  asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(shared_address(gate)), "r"(bytes) : "memory");
  asm volatile("cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1], %2, [%3];"
               ::"r"(shared_address(to)), "l"(from), "r"(bytes), "r"(shared_address(gate)) : "memory");
  return;
#endif
  asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(shared_address(gate)), "r"(bytes) : "memory");
  asm volatile("cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes.L2::cache_hint [%0], [%1], %2, [%3], %4;"
               ::"r"(shared_address(to)), "l"(from), "r"(bytes), "r"(shared_address(gate)), "l"(policy) : "memory");
}
#endif

__device__ constexpr int divide_up(int a, int b) { return (a + b - 1) / b; }
__device__ constexpr int most(int a, int b) { return a > b ? a : b; }

__device__ __forceinline__ float wide(bf16 x) { return __uint_as_float((unsigned)x << 16); }
__device__ __forceinline__ bf16 narrow(float x) {
  unsigned bits = __float_as_uint(x);
  return (bf16)((bits + 0x7fff + ((bits >> 16) & 1)) >> 16);
}
__device__ __forceinline__ uint2 narrow(float4 x) {
  return make_uint2(narrow(x.x) | (unsigned)narrow(x.y) << 16, narrow(x.z) | (unsigned)narrow(x.w) << 16);
}
// Four neighbours of an array of bfloat16.
__device__ __forceinline__ float4 wide(const bf16* at) {
  const uint2 v = *(const uint2*)at;
  return make_float4(__uint_as_float(v.x << 16), __uint_as_float(v.x & 0xffff0000u), __uint_as_float(v.y << 16),
                     __uint_as_float(v.y & 0xffff0000u));
}

// A board's floats, tagged.
__device__ __forceinline__ void publish(unsigned* at, float x, unsigned tag) {
  write_word(at, (__float_as_uint(x) & ~1u) | tag);
}
__device__ __forceinline__ float4 await(const unsigned* at, unsigned tag) {
  uint4 v = read_words(at);
#ifdef NOWAIT
  return make_float4(__uint_as_float(v.x), __uint_as_float(v.y), __uint_as_float(v.z), __uint_as_float(v.w));
#endif
  while (((v.x ^ tag) | (v.y ^ tag) | (v.z ^ tag) | (v.w ^ tag)) & 1) {
    YIELD;
#ifdef NAP
    __nanosleep(NAP);
#endif
    v = read_words(at);
  }
  return make_float4(__uint_as_float(v.x), __uint_as_float(v.y), __uint_as_float(v.z), __uint_as_float(v.w));
}

// A matrix lies in units of GROUPS times eight outputs, unit after unit; those of a block are blockIdx.x, blockIdx.x +
// BLOCKS, ... A slot holds eight outputs' weights of WIDTH inputs at most. Order within: see `fused.fragments`.
template <int COUNT_, int GROUPS_, int INPUTS_>
struct Matrix {
  static constexpr int COUNT = COUNT_, GROUPS = GROUPS_, INPUTS = INPUTS_;
  static constexpr int MOST = divide_up(COUNT, BLOCKS), PARTS = divide_up(INPUTS, WIDTH), TILES = INPUTS / 256;
  static constexpr size_t BYTES = (size_t)COUNT * GROUPS * INPUTS * 16;
  static __device__ __forceinline__ int mine() { return (COUNT - (int)blockIdx.x + BLOCKS - 1) / BLOCKS; }
};
typedef Matrix<3 * WIDTH / 8, 1, WIDTH> QueryKeyValue;
typedef Matrix<WIDTH / 8, 1, WIDTH> Out;
typedef Matrix<INNER / 8, 2, WIDTH> GateUp;
typedef Matrix<WIDTH / 8, 1, INNER> Down;

constexpr int SLOT_BYTES = WIDTH * 16, SLOT_TILES = WIDTH / 256, TILE_BYTES = 4096;

struct Ring {
  unsigned char slots[SLOTS][SLOT_BYTES];
  Gate full[SLOTS], empty[SLOTS];
};

__device__ __forceinline__ void make(Ring& ring) {
  if (threadIdx.x == 0) {
    for (int i = 0; i < SLOTS; ++i) make_gate(&ring.full[i], 1), make_gate(&ring.empty[i], WARPS);
    gates_made();
  }
  __syncthreads();
}

// The sender's side, one thread.
__device__ __forceinline__ void send(Ring& ring, unsigned& sent, const unsigned char* from, unsigned bytes, bool keeping, const unsigned char* still) {
  const unsigned slot = sent % SLOTS, round = sent / SLOTS;
#ifdef STILL
  from = still;
#endif
  if (round) while (!open(&ring.empty[slot], (round - 1) & 1)) YIELD;
  copy_through(ring.slots[slot], from, bytes, &ring.full[slot], keeping);
  ++sent;
}
template <class M>
__device__ __forceinline__ void send_matrix(Ring& ring, unsigned& sent, const unsigned char* matrix, bool keeping) {
  for (int unit = blockIdx.x; unit < M::COUNT; unit += BLOCKS)
    for (int group = 0; group < M::GROUPS; ++group)
      for (int at = 0; at < M::INPUTS; at += WIDTH) {
        const int inputs = M::INPUTS - at < WIDTH ? M::INPUTS - at : WIDTH;
        send(ring, sent, matrix + ((size_t)(unit * M::GROUPS + group) * M::INPUTS + at) * 16, inputs * 16, keeping, matrix);
      }
}

// The others' side: `taken` slots so far.
__device__ __forceinline__ void wait_for(Ring& ring, unsigned taken) {
  while (!open(&ring.full[taken % SLOTS], taken / SLOTS & 1)) YIELD;
}
__device__ __forceinline__ void release(Ring& ring, unsigned& taken, int many) {
  __syncwarp();
  if (threadIdx.x % 32 == 0)
    for (int i = 0; i < many; ++i) arrive(&ring.empty[(taken + i) % SLOTS]);
  taken += many;
}

constexpr int INPUT = most(WIDTH, INNER) + PAD;
template <int TOTALS>
struct Workplace {
  alignas(16) bf16 input[ROWS][INPUT];               // what the present product reads
  float totals[WARPS][TOTALS][ROWS][8];  // its sums, each warp's share
  float powers[2][WARPS];                // sums of squares of the residual's parts; even and odd phases
};

// The input times the block's units of a matrix; a warp takes an eighth of every second tile of 256 inputs.
template <class M, class Work>
__device__ __forceinline__ void product(Ring& ring, unsigned& taken, Work& work) {
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32, row = lane / 4, part = lane % 4, half = warp / 8, step = warp % 8;
  constexpr int OUTPUTS = M::MOST * M::GROUPS;
  const int many = M::mine() * M::GROUPS * M::PARTS;
  for (int i = 0; i < many; ++i) wait_for(ring, taken + i);
  float even[OUTPUTS][4] = {}, odd[OUTPUTS][4] = {};
#pragma unroll
  for (int tile = 0; tile < M::TILES; ++tile) {
    if (tile % 2 != half) continue;
    uint4 x = make_uint4(0, 0, 0, 0);
    if (row < ROWS) x = *(const uint4*)&work.input[row][tile * 256 + step * 32 + part * 8];
#pragma unroll
    for (int output = 0; output < OUTPUTS; ++output) {  // whatever lies in slots that are not the block's
      const unsigned slot = (taken + output * M::PARTS + tile / SLOT_TILES) % SLOTS;
      const uint4 w = *(const uint4*)(ring.slots[slot] + tile % SLOT_TILES * TILE_BYTES + (step * 32 + lane) * 16);
      multiply(even[output], x.x, x.y, w.x, w.y);
      multiply(odd[output], x.z, x.w, w.z, w.w);
    }
  }
  if (row < ROWS) {
#pragma unroll
    for (int output = 0; output < OUTPUTS; ++output) {
      work.totals[warp][output][row][2 * part] = even[output][0] + odd[output][0];
      work.totals[warp][output][row][2 * part + 1] = even[output][1] + odd[output][1];
    }
  }
  release(ring, taken, many);
  meet();
}

template <class Work>
__device__ __forceinline__ float total(const Work& work, int output, int row, int column) {
  float sum = 0;
#pragma unroll
  for (int warp = 0; warp < WARPS; ++warp) sum += work.totals[warp][output][row][column];
  return sum;
}

// Rows of the residual times a norm's scale become the input; the norm's factor is left to the product's end.
// read(row, column) gives four neighbours.
template <class Work, class Read>
__device__ __forceinline__ void take_residual(Work& work, int phase, const bf16* scale, Read read) {
  constexpr int EACH = WIDTH / 4;
  const int row = threadIdx.x / EACH, column = threadIdx.x % EACH * 4;
  if (row < ROWS) {
    const float4 s = wide(scale + column), x = read(row, column);
    *(uint2*)&work.input[row][column] = narrow(make_float4(x.x * s.x, x.y * s.y, x.z * s.z, x.w * s.w));
    float power = x.x * x.x + x.y * x.y + x.z * x.z + x.w * x.w;
#pragma unroll
    for (int apart = 16; apart; apart /= 2) power += __shfl_xor_sync(~0u, power, apart);
    if (threadIdx.x % 32 == 0) work.powers[phase % 2][threadIdx.x / 32] = power;
  }
  meet();
}
template <class Work>
__device__ __forceinline__ float norm_factor(const Work& work, int phase, int row) {
  constexpr int EACH = WIDTH / 128;
  float power = 0;
#pragma unroll
  for (int warp = 0; warp < EACH; ++warp) power += work.powers[phase % 2][row * EACH + warp];
  return rsqrtf(power / WIDTH + EPSILON);
}

// A board of rows becomes the input.
template <int LENGTH, class Work>
__device__ __forceinline__ void take_board(Work& work, const unsigned* board, unsigned tag) {
  constexpr int EACH = LENGTH / 4;
#pragma unroll
  for (int i = threadIdx.x; i < ROWS * EACH; i += THREADS)
    *(uint2*)&work.input[i / EACH][i % EACH * 4] = narrow(await(board + i * 4, tag));
  meet();
}

__device__ __forceinline__ float gelu(float x) {
  return 0.5f * x * (1 + tanhf(0.7978845608028654f * (x + 0.044715f * x * x * x)));
}

// The gated MLP's middle, gelu(gate) * up, of the product with GateUp.
template <class Work>
__device__ __forceinline__ void publish_inner(const Work& work, unsigned* board, int phase, unsigned tag) {
  for (int j = threadIdx.x; j < GateUp::mine() * ROWS * 8; j += THREADS) {
    const int u = j / (8 * ROWS), row = j / 8 % ROWS, n = (blockIdx.x + u * BLOCKS) * 8 + j % 8;
    const float factor = norm_factor(work, phase, row);
    const float gate = wide(narrow(gelu(wide(narrow(total(work, 2 * u, row, j % 8) * factor)))));
    publish(board + row * INNER + n, gate * wide(narrow(total(work, 2 * u + 1, row, j % 8) * factor)), tag);
  }
}

#ifdef PROFILE
#define STAMP(what) if (threadIdx.x == 0) stamps[blockIdx.x * PROFILE + (stamped++ % PROFILE)] = clock64()
#else
#define STAMP(what)
#endif

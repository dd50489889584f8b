// One frame of the temporal stack in one launch, for one stream.
//
// Constants: those of streaming.cuh; LAYERS, FRAMES (of a chunk), SLICES (of 256 keys, of the encoder's output).
// Rounding follows darius/depthformer/layers.py but for the norms, which are rounded once less.

#include "attention.cuh"
#include "streaming.cuh"

constexpr int TASKS = divide_up(HEADS * ROWS, BLOCKS);  // heads that a block attends with to the past, a warp each
static_assert(TASKS <= WARPS && FRAMES <= 64, "a warp attends with one head to at most 64 frames");
constexpr int OWN = Out::MOST * ROWS * 8;  // elements of the residual that a block owns, one a thread
static_assert(OWN <= THREADS && ROWS * WIDTH / 8 <= THREADS, "a thread an element");
constexpr int OWNERS = divide_up(OWN, 32) * 32;  // whole warps
constexpr int TOTALS = most(most(QueryKeyValue::MOST, Out::MOST), 2 * GateUp::MOST);
constexpr int LOOKS = ROWS * HEADS * SLICES;  // a head's attention to a slice of the encoder's output
constexpr size_t SPAN = (size_t)ROWS * HEADS * FRAMES * HEAD;  // of a layer's keys or values
constexpr int SLICE_TILE = 4096, SLICE_BYTES = 256 * HEAD * 2, SLICE_SLOTS = divide_up(SLICE_BYTES, SLOT_BYTES);

struct Shared {
  Ring ring;
  Workplace<TOTALS> work;
  alignas(16) bf16 past[TASKS][2][FRAMES][KEPT];  // keys and values of the present layer
  alignas(16) bf16 query[TASKS][HEAD];
  alignas(16) float scores[256];
  float mixed[8][HEAD];
};

// What the blocks exchange; words, of two elements each but for the statistics.
constexpr int LENGTH = ROWS * WIDTH / 2;
constexpr int QKV_AT = 0, MIX_AT = QKV_AT + 3 * LENGTH, AFTER_SELF_AT = MIX_AT + LENGTH;
constexpr int QUERY_AT = AFTER_SELF_AT + LENGTH, SEEN_AT = QUERY_AT + LENGTH;
constexpr int STATISTICS_AT = SEEN_AT + SLICES * LENGTH, AFTER_CROSS_AT = STATISTICS_AT + LOOKS * 4;
constexpr int INNER_AT = AFTER_CROSS_AT + LENGTH, RESIDUAL_AT = INNER_AT + ROWS * INNER / 2;

__device__ __forceinline__ void send_slice(Ring& ring, unsigned& sent, const unsigned char* slice) {
  for (int at = 0; at < SLICE_BYTES; at += SLOT_BYTES)
    send(ring, sent, slice + at, least(SLICE_BYTES - at, SLOT_BYTES), false);
}
// Sixteen bytes of a slice in the ring.
__device__ __forceinline__ uint4 of_slice(const Ring& ring, unsigned taken, int at) {
  return *(const uint4*)(ring.slots[(taken + at / SLOT_BYTES) % SLOTS] + at % SLOT_BYTES);
}

// The attention of a head to a slice of keys: the mix of its values, not yet divided by the sum of shares, and that sum
// with the highest score. Keys lie like a matrix [HEAD][256] in steps, values like one [256][HEAD] (`fused.fragments`).
__device__ __forceinline__ void look(Shared& shared, unsigned& taken, unsigned* boards, int query, unsigned tag,
                                     const float* bias, int seen, unsigned* statistics) {
  Ring& ring = shared.ring;
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32, step = warp % 8, part = lane % 4, column = lane / 4;
  // One row: columns 0 and 2 of B (see `step_inputs`).
  const bool asks = column == 0 || column == 2;
  uint4 q[2] = {};
  const float added[2] = {bias[warp * 8 + column], bias[128 + warp * 8 + column]};
  if (asks) {
    const unsigned* const at[2] = {place(boards + QUERY_AT, query + part * 8), place(boards + QUERY_AT, query + 32 + part * 8)};
    await(q, at, 2, [=](uint4 v) { return fresh(v, tag); });
  }
  meet_for(ring, taken, 2 * SLICE_SLOTS);
#pragma unroll
  for (int i = 0; i < 2; ++i) {
    float sums[4] = {};
#pragma unroll
    for (int s = 0; s < 2; ++s) {
      const uint4 k = of_slice(ring, taken, ((warp + i * 16) * 2 + s) * 512 + lane * 16);
      multiply(sums, k, column == 0 ? make_uint2(q[s].x, q[s].z) : make_uint2(q[s].y, q[s].w));
    }
    const float score = step_sums(sums).x + added[i];
    if (part == 0) shared.scores[(warp + i * 16) * 8 + column] = score;
  }
  meet();
  // Every warp the same: eight keys a lane.
  float share[8], highest = -3e38f, sum = 0;
  unsigned pair[4];
#pragma unroll
  for (int i = 0; i < 8; ++i) share[i] = shared.scores[lane * 8 + i], highest = fmaxf(highest, share[i]);
#pragma unroll
  for (int apart = 1; apart < 32; apart *= 2) highest = fmaxf(highest, __shfl_xor_sync(~0u, highest, apart));
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    const bf16 low = narrow(expf(share[2 * i] - highest)), high = narrow(expf(share[2 * i + 1] - highest));
    pair[i] = low | (unsigned)high << 16;
    sum += wide(low) + wide(high);
  }
#pragma unroll
  for (int apart = 1; apart < 32; apart *= 2) sum += __shfl_xor_sync(~0u, sum, apart);
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    pair[i] = __shfl_sync(~0u, pair[i], step * 4 + part);
    if (!asks) pair[i] = 0;
  }
  const uint2 shares = column == 0 ? make_uint2(pair[0], pair[2]) : make_uint2(pair[1], pair[3]);
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    const int unit = warp / 8 * 4 + i;
    float sums[4] = {};
    multiply(sums, of_slice(ring, taken + SLICE_SLOTS, unit * SLICE_TILE + (step * 32 + lane) * 16), shares);
    const float mix = step_sums(sums).x;
    if (part == 0) shared.mixed[step][unit * 8 + column] = mix;
  }
  meet_and_free(ring, taken, 2 * SLICE_SLOTS);
  if (threadIdx.x < HEAD) {
    float mix = 0;
#pragma unroll
    for (int i = 0; i < 8; ++i) mix += shared.mixed[i][threadIdx.x];
    publish(boards + SEEN_AT, seen + threadIdx.x, mix, tag, true);
  } else if (threadIdx.x == HEAD) {
    write_words(statistics, make_uint4((__float_as_uint(highest) & ~1u) | tag, __float_as_uint(sum), 0, 0));
  }
}

// All slices' mixes together become the input.
__device__ __forceinline__ void take_seen(Shared& shared, unsigned* boards, unsigned tag) {
  constexpr int EACH = WIDTH / 8;
  const int row = threadIdx.x / EACH, column = threadIdx.x % EACH * 8;
  Eight seen[1] = {};
  if (row < ROWS) {
    const unsigned* at[2 * SLICES];
    uint4 x[2 * SLICES];  // mixes, then statistics
    float highest = -3e38f, sum = 0;
#pragma unroll
    for (int s = 0; s < SLICES; ++s) {
      at[s] = place(boards + SEEN_AT, (row * SLICES + s) * WIDTH + column);
      at[SLICES + s] = boards + STATISTICS_AT + ((row * SLICES + s) * HEADS + column / HEAD) * 4;
    }
    await(x, at, 2 * SLICES, [=](uint4 v) { return fresh(v, tag); });
#pragma unroll
    for (int s = 0; s < SLICES; ++s) highest = fmaxf(highest, __uint_as_float(x[SLICES + s].x));
#pragma unroll
    for (int s = 0; s < SLICES; ++s) {
      const float weight = expf(__uint_as_float(x[SLICES + s].x) - highest);
      sum += weight * __uint_as_float(x[SLICES + s].y);
      const Eight mix = wide(x[s]);
#pragma unroll
      for (int j = 0; j < 8; ++j) seen[0].v[j] += weight * mix.v[j];
    }
#pragma unroll
    for (int j = 0; j < 8; ++j) seen[0].v[j] /= sum;
  }
  put<EACH>(shared.work, seen);
}

// Joined layers: every matrix has its layers one after the other, so have the norms, [LAYERS][WIDTH].
extern "C" __global__ void __launch_bounds__(THREADS + 32, 1)
temporal_frame(const unsigned char* qkv, const unsigned char* out, const unsigned char* cross_query,
               const unsigned char* cross_out, const unsigned char* gate_up, const unsigned char* down, const bf16* norms,
               const bf16* cross_norms, const bf16* mlp_norms,
               const bf16* bias,            // [HEADS][FRAMES][FRAMES]
               const unsigned char* keys,   // [LAYERS][ROWS][SLICES][HEADS] slices of the encoder's output
               const unsigned char* values,
               const float* cross_bias,     // [ROWS][SLICES * 256]
               const float* input,          // [ROWS][WIDTH]
               const int* frames,           // how many there were before
               const bf16* earlier,         // what `memory` begins with: the same memory
               const unsigned* zeros,       // what `boards` begins with: the same memory
               float* output,               // [ROWS][WIDTH]
               bf16* memory,                // [LAYERS][2][ROWS][HEADS][FRAMES][HEAD]: keys and values
               unsigned* boards) {
  DYNAMIC_SHARED(bytes);
  Shared& shared = *(Shared*)bytes;
  Ring& ring = shared.ring;
  auto& work = shared.work;
  make(ring);
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;

  if (warp == SENDER) {
    if (lane) return;
    unsigned sent = 0;
    for (int layer = 0; layer < LAYERS; ++layer) {
      send_matrix<QueryKeyValue>(ring, sent, qkv + layer * QueryKeyValue::BYTES, false);
      send_matrix<Out>(ring, sent, out + layer * Out::BYTES, false);
      send_matrix<Out>(ring, sent, cross_query + layer * Out::BYTES, false);
      for (int look = blockIdx.x; look < LOOKS; look += BLOCKS) {
        send_slice(ring, sent, keys + ((size_t)layer * LOOKS + look) * SLICE_BYTES);
        send_slice(ring, sent, values + ((size_t)layer * LOOKS + look) * SLICE_BYTES);
      }
      send_matrix<Out>(ring, sent, cross_out + layer * Out::BYTES, false);
      send_matrix<GateUp>(ring, sent, gate_up + layer * GateUp::BYTES, false);
      send_matrix<Down>(ring, sent, down + layer * Down::BYTES, false);
    }
    return;
  }

  const int frame = *frames, i = threadIdx.x, unit = i / (8 * ROWS), row = i / 8 % ROWS, column = i % 8;
  const int task = BLOCKS - 1 - (int)blockIdx.x + warp * BLOCKS, head = task % HEADS, task_row = task / HEADS;
  const bool attends = warp < TASKS && task < HEADS * ROWS;
  // This thread's element of the residual, if it has one.
  const int own = (blockIdx.x + unit * BLOCKS) * 8 + column;
  const bool owner = unit < Out::mine();
  float mine = owner ? input[row * WIDTH + own] : 0;
  unsigned taken = 0;
  int phase = 0;

  for (int layer = 0; layer < LAYERS; ++layer) {
    const unsigned tag = (layer + 1) & 1, before = tag ^ 1;
    // Keys, and SPAN further on values, of this layer's past; those of the next are fetched meanwhile.
    bf16* past = memory + (((size_t)layer * 2 * ROWS + task_row) * HEADS + head) * FRAMES * HEAD;
    if (attends)
      for (int j = lane; j < 2 * frame * 8; j += 32) {
        const int which = j / (frame * 8), at = j % (frame * 8);
        copy_async(&shared.past[warp][which][at / 8][at % 8 * 8], past + which * SPAN + at * 8);
        if (layer + 1 < LAYERS && at % 16 == 0) fetch_line(past + (2 + which) * SPAN + at * 8);
      }
    take_residual(work, ++phase, norms + layer * WIDTH, [&](int r, int c) {
      return layer ? wide(await(boards + RESIDUAL_AT, r * WIDTH + c, before)) : eight(input + r * WIDTH + c);
    });
    product<QueryKeyValue>(ring, taken, work);
    publish_units<QueryKeyValue, 3 * WIDTH>(boards + QKV_AT, tag, [&](int u, int r, int c) {
      return total(work, u, r, c) * norm_factor(work, phase, r);
    });

    if (attends) {
      copies_done();
      __syncwarp();
      attend<FRAMES>(shared.past[warp][0][0], shared.past[warp][1][0], shared.query[warp],
                     boards + QKV_AT, task_row * 3 * WIDTH + head * HEAD, tag,
                     bias + (head * FRAMES + frame) * FRAMES, frame, boards + MIX_AT, task_row * WIDTH + head * HEAD);
#pragma unroll
      for (int which = 0; which < 2; ++which)
        *(unsigned*)(past + which * SPAN + frame * HEAD + lane * 2) = *(const unsigned*)&shared.past[warp][which][frame][lane * 2];
    }
    if (Out::mine()) {
      take_board<WIDTH>(work, boards + MIX_AT, tag);
      product<Out>(ring, taken, work);
      if (owner) mine += total(work, unit, row, column);
      if (i < OWNERS) publish(boards + AFTER_SELF_AT, row * WIDTH + own, mine, tag, owner);
    }

    if (Out::mine()) {
      take_residual(work, ++phase, cross_norms + layer * WIDTH,
                    [&](int r, int c) { return wide(await(boards + AFTER_SELF_AT, r * WIDTH + c, tag)); });
      product<Out>(ring, taken, work);
      const float query = owner ? total(work, unit, row, column) * norm_factor(work, phase, row) : 0;
      if (i < OWNERS) publish(boards + QUERY_AT, row * WIDTH + own, query, tag, owner);
    }
    for (int each = blockIdx.x; each < LOOKS; each += BLOCKS) {
      const int slice = each / HEADS % SLICES, its = each / HEADS / SLICES, which = each % HEADS;
      look(shared, taken, boards, its * WIDTH + which * HEAD, tag, cross_bias + (its * SLICES + slice) * 256,
           (its * SLICES + slice) * WIDTH + which * HEAD, boards + STATISTICS_AT + each * 4);
    }
    if (Out::mine()) {
      take_seen(shared, boards, tag);
      product<Out>(ring, taken, work);
      if (owner) mine += total(work, unit, row, column);
      if (i < OWNERS) publish(boards + AFTER_CROSS_AT, row * WIDTH + own, mine, tag, owner);
    }

    take_residual(work, ++phase, mlp_norms + layer * WIDTH,
                  [&](int r, int c) { return wide(await(boards + AFTER_CROSS_AT, r * WIDTH + c, tag)); });
    product<GateUp>(ring, taken, work);
    publish_inner(work, boards + INNER_AT, phase, tag);
    if (Down::mine()) {
      take_board<INNER>(work, boards + INNER_AT, tag);
      product<Down>(ring, taken, work);
      if (owner) mine += total(work, unit, row, column);
      if (i < OWNERS) publish(boards + RESIDUAL_AT, row * WIDTH + own, mine, tag, owner);
    }
  }
  if (owner) output[row * WIDTH + own] = mine;
}

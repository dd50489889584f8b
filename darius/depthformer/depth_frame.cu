// All levels of one frame in one launch: the depth stack, the projection and the draw, for one stream.
//
// Constants: those of streaming.cuh; LAYERS LEVELS CODES; KEPT_LAYERS, whose weights the second cache is to keep.
// Rounding follows darius/depthformer/layers.py but for the norms, which are rounded once less.

#include "attention.cuh"
#include "draw.cuh"
#include "streaming.cuh"

typedef Matrix<CODES / 8, 1, WIDTH> Projection;

constexpr int TASKS = divide_up(HEADS * ROWS, BLOCKS);  // heads that a block attends with, a warp each
static_assert(TASKS <= WARPS && LEVELS <= 16, "a warp attends with one head to at most sixteen positions");
constexpr int OWN = Out::MOST * ROWS * 8;  // elements of the residual that a block owns, one a thread
static_assert(OWN <= THREADS && ROWS * WIDTH / 8 <= THREADS, "a thread an element");
constexpr int OWNERS = divide_up(OWN, 32) * 32;  // whole warps
constexpr int TOTALS = most(most(QueryKeyValue::MOST, Out::MOST), most(2 * GateUp::MOST, Projection::MOST));

struct Shared {
  Ring ring;
  Workplace<TOTALS> work;
  alignas(16) bf16 past[TASKS][LAYERS][2][LEVELS][KEPT];  // keys and values
  alignas(16) bf16 query[TASKS][HEAD];
  Ballot ballot;
};

// What the blocks exchange; words, of two elements each but for the logits.
constexpr int QKV_AT = 0, MIX_AT = QKV_AT + 3 * ROWS * WIDTH / 2, MIDDLE_AT = MIX_AT + ROWS * WIDTH / 2;
constexpr int INNER_AT = MIDDLE_AT + ROWS * WIDTH / 2, RESIDUAL_AT = INNER_AT + ROWS * INNER / 2;
constexpr int LOGITS_AT = RESIDUAL_AT + ROWS * WIDTH / 2;

// Joined layers: every matrix has its layers one after the other, so have the norms, [LAYERS][WIDTH].
extern "C" __global__ void __launch_bounds__(THREADS + 32, 1)
depth_frame(const unsigned char* qkv, const unsigned char* out, const unsigned char* gate_up, const unsigned char* down,
            const bf16* norms, const bf16* mlp_norms, const bf16* last_norm, const unsigned char* projection,
            const bf16* embedding, const bf16* bias,
            const float* context,   // [ROWS][WIDTH]: what the temporal stack says of the frame
            const float* noise,     // [LEVELS][CODES]
            const int* known,       // [LEVELS]: codes that are not drawn, or -1
            const float* dials,     // guidance, temperature, top k, id of level 0's code 0
            const unsigned* zeros,  // what `boards` begins with: the same memory
            int* codes, float* mean, unsigned* boards) {
  DYNAMIC_SHARED(bytes);
  Shared& shared = *(Shared*)bytes;
  Ring& ring = shared.ring;
  auto& work = shared.work;
  make(ring);
  const int warp = threadIdx.x / 32;

  if (warp == SENDER) {
    if (threadIdx.x % 32) return;
    unsigned sent = 0;
    for (int level = 0; level < LEVELS; ++level) {
      for (int layer = 0; layer < LAYERS; ++layer) {
        const bool keeping = layer < KEPT_LAYERS;
        send_matrix<QueryKeyValue>(ring, sent, qkv + layer * QueryKeyValue::BYTES, keeping);
        send_matrix<Out>(ring, sent, out + layer * Out::BYTES, keeping);
        send_matrix<GateUp>(ring, sent, gate_up + layer * GateUp::BYTES, keeping);
        send_matrix<Down>(ring, sent, down + layer * Down::BYTES, keeping);
      }
      send_matrix<Projection>(ring, sent, projection + level * Projection::BYTES, false);
    }
    return;
  }

  const Controls controls = {dials[0], dials[1], (int)dials[2]};
  const int first_id = (int)dials[3], i = threadIdx.x, unit = i / (8 * ROWS), row = i / 8 % ROWS, column = i % 8;
  const int task = BLOCKS - 1 - (int)blockIdx.x + warp * BLOCKS, head = task % HEADS, task_row = task / HEADS;
  // This thread's element of the residual, if it has one.
  const int own = (blockIdx.x + unit * BLOCKS) * 8 + column;
  const bool owner = unit < Out::mine();
  float mine = owner ? context[row * WIDTH + own] : 0, sum = 0;
  const bf16* table = nullptr;
  unsigned taken = 0;
  int phase = 0;

  for (int level = 0; level < LEVELS; ++level) {
    if (blockIdx.x == 0 && i < CODES / 32) fetch_line(noise + level * CODES + i * 32);
    const int given = known[level];
    for (int layer = 0; layer < LAYERS; ++layer) {
      const unsigned tag = (level * LAYERS + layer + 1) & 1, before = tag ^ 1;
      take_residual(work, ++phase, norms + layer * WIDTH, [&](int r, int c) {
        if (layer) return wide(await(boards + RESIDUAL_AT, r * WIDTH + c, before));
        return level ? eight(table + c) : eight(context + r * WIDTH + c);
      });
      product<QueryKeyValue>(ring, taken, work);
      publish_units<QueryKeyValue, 3 * WIDTH>(boards + QKV_AT, tag, [&](int u, int r, int c) {
        return total(work, u, r, c) * norm_factor(work, phase, r);
      });

      if (warp < TASKS && task < HEADS * ROWS)
        attend<LEVELS>(shared.past[warp][layer][0][0], shared.past[warp][layer][1][0], shared.query[warp],
                       boards + QKV_AT, task_row * 3 * WIDTH + head * HEAD, tag,
                       bias + (head * LEVELS + level) * LEVELS, level, boards + MIX_AT, task_row * WIDTH + head * HEAD);
      if (Out::mine()) {
        take_board<WIDTH>(work, boards + MIX_AT, tag);
        product<Out>(ring, taken, work);
        if (owner) mine += total(work, unit, row, column);
        if (i < OWNERS) publish(boards + MIDDLE_AT, row * WIDTH + own, mine, tag, owner);
      }

      take_residual(work, ++phase, mlp_norms + layer * WIDTH,
                    [&](int r, int c) { return wide(await(boards + MIDDLE_AT, r * WIDTH + c, tag)); });
      product<GateUp>(ring, taken, work);
      publish_inner(work, boards + INNER_AT, phase, tag);

      if (Down::mine()) {
        take_board<INNER>(work, boards + INNER_AT, tag);
        product<Down>(ring, taken, work);
        if (owner) mine += total(work, unit, row, column);
        if (i < OWNERS) publish(boards + RESIDUAL_AT, row * WIDTH + own, mine, tag, owner);
      }
    }
    take_residual(work, ++phase, last_norm, [&](int r, int c) {
      return wide(await(boards + RESIDUAL_AT, r * WIDTH + c, (level + 1) * LAYERS & 1));
    });
    const unsigned tag = (level + 1) & 1;
    product<Projection>(ring, taken, work);
    for (int j = i; j < Projection::mine() * ROWS * 8; j += THREADS) {
      const int u = j / (8 * ROWS), r = j / 8 % ROWS, n = (blockIdx.x + u * BLOCKS) * 8 + j % 8;
      publish_float(boards + LOGITS_AT + r * CODES + n, total(work, u, r, j % 8) * norm_factor(work, phase, r), tag);
    }
    int code = draw(shared.ballot, boards + LOGITS_AT, tag, noise + level * CODES, controls);
    if (given >= 0) code = given;
    if (blockIdx.x == 0 && i == 0) codes[level] = code;
    table = embedding + (size_t)(first_id + level * CODES + code) * WIDTH;
    if (owner) sum += mine = wide(table[own]);
  }
  if (owner) mean[row * WIDTH + own] = sum / LEVELS;
}

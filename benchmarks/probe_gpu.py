"""What the card itself gives: copies, products, barriers of the whole grid, reading weights again and again."""

# ruff: noqa: T201, E501, BLE001 (a script that prints; PTX in one line; whatever fails is the finding)

from __future__ import annotations

import json
import time

import jax
import jax.numpy as jnp

from darius.depthformer import cuda

PROBE = r"""
__device__ __forceinline__ void barrier(unsigned* count, unsigned target) {
  __syncthreads();
  if (threadIdx.x == 0) {
    unsigned seen;
    asm volatile("red.release.gpu.global.add.u32 [%0], 1;" :: "l"(count) : "memory");
    do { asm volatile("ld.acquire.gpu.global.u32 %0, [%1];" : "=r"(seen) : "l"(count) : "memory"); }
    while (seen < target);
  }
  __syncthreads();
}
extern "C" __global__ void barriers(const unsigned* zeros, unsigned* count) {
  for (unsigned i = 1; i <= ROUNDS; ++i) barrier(count, i * gridDim.x);
}
extern "C" __global__ void reads(const uint4* weights, const unsigned* zeros, uint4* out, unsigned* count) {
  unsigned a = 0, b = 0, c = 0, d = 0;
  for (unsigned i = 1; i <= ROUNDS; ++i) {
    for (unsigned p = 0; p < PHASES; ++p) {
      const uint4* at = weights + (size_t)p * (VECTORS / PHASES);
      #pragma unroll 8
      for (unsigned j = blockIdx.x * blockDim.x + threadIdx.x; j < VECTORS / PHASES; j += gridDim.x * blockDim.x) {
        uint4 v;
        asm volatile("ld.global.nc.L1::no_allocate.v4.u32 {%0,%1,%2,%3}, [%4];" : "=r"(v.x), "=r"(v.y), "=r"(v.z), "=r"(v.w) : "l"(at + j));
        a ^= v.x; b ^= v.y; c ^= v.z; d ^= v.w;
      }
      if (BARRIERS) barrier(count, ((i - 1) * PHASES + p + 1) * gridDim.x);
    }
  }
  out[blockIdx.x * blockDim.x + threadIdx.x] = make_uint4(a, b, c, d);
}
"""


def seconds(work, *arguments) -> float:
    jax.block_until_ready(work(*arguments))
    times = []
    for _ in range(5):
        began = time.perf_counter()
        jax.block_until_ready(work(*arguments))
        times.append(time.perf_counter() - began)
    return sorted(times)[2]


def code(**constants: int) -> str:
    arch = cuda.architecture(jax.devices()[0])
    return cuda.ptx(PROBE, (f"--gpu-architecture=compute_{arch}", *[f"-D{k}={v}" for k, v in constants.items()]))


def main() -> None:
    device = jax.devices()[0]
    print(json.dumps({"device": device.device_kind, "capability": getattr(device, "compute_capability", None)}))
    big = jnp.ones((1 << 31,), jnp.int8)
    copy = seconds(jax.jit(lambda x: x + 1), big)
    print(json.dumps({"copy_TB_per_s": 2 * big.size / copy / 1e12}))
    del big
    a = jax.random.normal(jax.random.key(0), (8192, 8192), jnp.bfloat16)
    product = seconds(jax.jit(lambda x: x @ x), a)
    print(json.dumps({"bf16_TFLOP_per_s": 2 * 8192**3 / product / 1e12}))
    for grid, block in ((132, 256), (132, 512), (128, 256), (264, 256)):
        report(grid=grid, block=block, measure=lambda grid=grid, block=block: barrier_us(grid, block))
    for megabytes in (24, 40, 50, 64, 105):
        for phases in (1, 17):
            report(MB=megabytes, phases=phases, measure=lambda m=megabytes, p=phases: reads_us(m, p))


def report(*, measure, **what) -> None:
    try:
        print(json.dumps({**what, **measure()}), flush=True)
    except Exception as error:  # a probe: whatever fails is the finding
        print(json.dumps({**what, "failed": str(error)[:800]}), flush=True)


def barrier_us(grid: int, block: int, rounds: int = 10000) -> dict[str, float]:
    kernel = code(ROUNDS=rounds, PHASES=1, VECTORS=1, BARRIERS=1)
    count = jax.ShapeDtypeStruct((64,), jnp.uint32)

    @jax.jit
    def run(zeros):
        return cuda.call("barriers", kernel, [zeros * 0], [count], grid=grid, block=block, aliases={0: 0})

    return {"barrier_us": seconds(run, jnp.zeros(64, jnp.uint32)) / rounds * 1e6}


def reads_us(megabytes: int, phases: int, rounds: int = 200) -> dict[str, float]:
    vectors = megabytes * 1_000_000 // 16 // phases * phases
    kernel = code(ROUNDS=rounds, PHASES=phases, VECTORS=vectors, BARRIERS=int(phases > 1))
    results = [jax.ShapeDtypeStruct((132 * 512, 4), jnp.uint32), jax.ShapeDtypeStruct((64,), jnp.uint32)]

    @jax.jit
    def run(weights, zeros):
        return cuda.call("reads", kernel, [weights, zeros * 0], results, grid=132, block=512, aliases={1: 1})

    data = jax.random.bits(jax.random.key(0), (vectors, 4), jnp.uint32)
    each = seconds(run, data, jnp.zeros(64, jnp.uint32)) / rounds
    return {"us": each * 1e6, "TB_per_s": vectors * 16 / each / 1e12}


if __name__ == "__main__":
    main()

"""Where arrays live when several devices train together: JAX's own SPMD, and nothing else.

One axis of devices, "data": every batch is split over it. Each device owns its share of the layers: it gathers the
weights of all in the activations' type once a step, gets the sum of all devices' gradients of its own, and updates
these. With `split` layers are gathered one at a time, as they run: slower, and a device never holds all of them.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from numpy.typing import NDArray

from darius.errors import InvalidOption, NoDevice
from finetune import stacks

AXIS = "data"
SMALLEST = 1 << 16
"""Tensors with fewer values are never split."""


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Placement:
    """A mesh of devices, and whether layers are gathered one at a time."""

    mesh: Mesh
    split: bool = False

    @property
    def devices(self) -> int:
        """Devices on all hosts together."""
        return int(self.mesh.devices.size)

    @property
    def whole(self) -> NamedSharding:
        """The same on every device."""
        return NamedSharding(self.mesh, PartitionSpec())

    @property
    def batch(self) -> NamedSharding:
        """Of a batch [micro-batches, rows, ...]: rows are split."""
        return NamedSharding(self.mesh, PartitionSpec(None, AXIS))

    @property
    def rows(self) -> NamedSharding:
        """Of a micro-batch [rows, ...]."""
        return NamedSharding(self.mesh, PartitionSpec(AXIS))

    def of_param(self, name: str, shape: Sequence[int]) -> NamedSharding:
        """Of a stacked parameter: its longest side that the devices divide, unless it is small."""
        if not self.split or math.prod(shape) < SMALLEST:
            return self.whole
        first = 1 if stacks.is_stacked(name) else 0
        sides = [axis for axis in range(first, len(shape)) if shape[axis] % self.devices == 0]
        if not sides:
            return self.whole
        longest = max(sides, key=lambda axis: shape[axis])
        return NamedSharding(
            self.mesh, PartitionSpec(*(AXIS if axis == longest else None for axis in range(len(shape))))
        )

    @property
    def reduces(self) -> bool:
        """Whether each device computes gradients of its own, which are added up afterwards."""
        return self.devices > 1 and not self.split

    @property
    def compiler_options(self) -> dict[str, bool] | None:
        """What makes XLA compute while devices exchange; TPUs' compiler does so by itself."""
        if not self.reduces or self.mesh.devices.flat[0].platform == "tpu":
            return None
        return {"xla_gpu_enable_latency_hiding_scheduler": True}

    def owned(self, name: str, shape: Sequence[int]) -> PartitionSpec:
        """Of a stacked parameter, its gradient and its moments where `reduces`: each device has its share of the
        layers, if that comes out even; otherwise all have all of it."""
        even = stacks.is_stacked(name) and shape[0] % self.devices == 0
        return PartitionSpec(AXIS) if even else PartitionSpec()

    def gather(self, tree: Any, specs: Any) -> Any:
        """Inside `per_device`: each leaf whole, of which a device has what its spec says."""

        def one(value: jax.Array, spec: PartitionSpec) -> Any:
            return value if spec == PartitionSpec() else jax.lax.all_gather(value, AXIS, tiled=True)

        return jax.tree.map(one, tree, specs)

    def add_up(self, tree: Any, specs: Any) -> Any:
        """Inside `per_device`: the sum over devices of each leaf, whole or a device's share of it, as its spec says.

        Numbers travel as they are and are added in float32.
        """

        def one(value: jax.Array, spec: PartitionSpec) -> Any:
            if spec == PartitionSpec():
                return jax.lax.psum(value.astype(np.float32), AXIS)
            parts = value.reshape(self.devices, -1, *value.shape[1:])
            return jax.lax.all_to_all(parts, AXIS, 0, 0).astype(np.float32).sum(0)

        return jax.tree.map(one, tree, specs)

    def per_device(self, work: Callable[..., Any], takes: Any, gives: Any) -> Callable[..., Any]:
        """`work` on every device with its own part of the arguments, as the specs say (JAX's `shard_map`)."""
        if hasattr(jax, "shard_map"):
            return jax.shard_map(work, mesh=self.mesh, in_specs=takes, out_specs=gives, check_vma=False)
        from jax.experimental.shard_map import shard_map  # JAX before 0.6

        mapped: Callable[..., Any] = shard_map(work, mesh=self.mesh, in_specs=takes, out_specs=gives, check_rep=False)
        return mapped

    def put_trained(self, params: Mapping[str, NDArray[Any]]) -> dict[str, jax.Array]:
        """Host parameters onto the devices that update them, float32."""
        if not self.reduces:
            return self.put_params(params, np.float32)
        return {name: self.put_owned(name, np.asarray(value, np.float32)) for name, value in params.items()}

    def put_owned(self, name: str, value: NDArray[Any]) -> jax.Array:
        """A parameter, or moments of it, where it is updated."""
        return put(value, NamedSharding(self.mesh, self.owned(name, value.shape)) if self.reduces else self.whole)

    def put_params(self, params: Mapping[str, NDArray[Any]], dtype: Any = None) -> dict[str, jax.Array]:
        """Host parameters onto the devices."""
        return {name: put(np.asarray(value, dtype), self.of_param(name, value.shape)) for name, value in params.items()}

    def put_whole(self, tree: Any) -> Any:
        """A tree of host values, the same on every device."""
        return jax.tree.map(lambda value: put(np.asarray(value), self.whole), tree)

    def to_host(self, tree: Any) -> Any:
        """The whole values of a tree, one array after another so that no device holds them all; on every host."""
        gather = jax.jit(lambda value: value, out_shardings=self.whole)
        return jax.tree.map(lambda value: np.asarray(gather(value).addressable_data(0)), tree)


def put(value: NDArray[Any], sharding: NamedSharding) -> jax.Array:
    """A host array that every process has, laid out over the devices of all of them."""
    return jax.make_array_from_callback(value.shape, sharding, lambda index: value[index])


def place(kind: str = "auto", count: int | None = None, *, split: bool = False) -> Placement:
    """The devices to train on.

    Args:
      kind: auto, cpu, gpu or tpu; "gpu:1" for one of several.
      count: how many; by default all accelerators there are, and one CPU.
      split: split the parameters too.

    Raises:
      NoDevice, InvalidOption: there are none, or not so many.
    """
    from darius.devices import find_device

    first = find_device(kind)
    if ":" in kind:
        if count not in (None, 1):
            raise InvalidOption(f"--device {kind} is one device, not {count}.", "Leave the number out of --device.")
        return Placement(mesh=Mesh(np.array([first]), (AXIS,)), split=split)
    found = jax.devices(first.platform)
    wanted = count or (len(found) if first.platform != "cpu" or jax.process_count() > 1 else 1)
    if not 1 <= wanted <= len(found):
        raise NoDevice(f"There are {len(found)} {first.platform.upper()} devices, not {wanted}.", "See: darius doctor")
    return Placement(mesh=Mesh(np.array(found[:wanted]), (AXIS,)), split=split)


def join_hosts(coordinator: str | None, processes: int | None, index: int | None) -> None:
    """Makes this process one of several hosts; does nothing when no coordinator is given.

    Args:
      coordinator: "address:port" of the first process.
      processes: how many there are; index: which of them this is, from 0. Clusters that JAX knows need neither.

    Raises:
      InvalidOption: the coordinator cannot be reached, or the numbers do not fit.
    """
    if coordinator is None:
        return
    try:
        jax.distributed.initialize(coordinator, processes, index)
    except (RuntimeError, ValueError) as error:
        raise InvalidOption(
            f"This process could not join the others at {coordinator} ({str(error).splitlines()[0]}).",
            "Give all processes the same --coordinator and --hosts, and each its own --host-index, starting at 0.",
        ) from None

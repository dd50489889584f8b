"""Trains the small model on two devices of this process, or as one of two hosts; prints the losses as JSON."""

import json
import sys

import jax
import numpy as np
from jax.sharding import PartitionSpec

from finetune import sharding, stacks, step


def losses(placement: sharding.Placement) -> tuple[list[float], float]:
    """The losses, and the share of the trained parameters that the first device holds."""
    import small_trainee

    chosen = small_trainee.options()
    state = step.start(0, stacks.stack(small_trainee.params()), placement, lora=False)
    run = step.make(small_trainee.SMALL, chosen, placement, state)
    found = []
    for index in range(4):
        batch = small_trainee.batch(index % 2, rows=4, micro=4)
        placed = step.Batch(*(sharding.put(ids, placement.batch) for ids in batch))
        state, metrics = run(state, {}, placed)
        found.append(float(metrics.sums.cross_entropy.sum()) / (4 * small_trainee.LAYOUT.decoder_length))
    evaluate = step.make_evaluation(small_trainee.SMALL, chosen, placement)
    windows = (sharding.put(ids, placement.rows) for ids in small_trainee.windows(rows=4))
    found.append(float(evaluate(state, {}, *windows).cross_entropy.sum()))
    leaves = jax.tree.leaves(state.trained)
    held = sum(leaf.addressable_shards[0].data.nbytes for leaf in leaves) / sum(leaf.nbytes for leaf in leaves)
    host = placement.to_host(state.trained)
    assert {name: value.shape for name, value in host.items()} == {k: v.shape for k, v in state.trained.items()}
    return found, held


def added(placement: sharding.Placement) -> bool:
    """Whether gradients in bfloat16 are added up in float32, each device getting its own layers, and gathered again."""
    ours = np.random.default_rng(0).standard_normal((placement.devices, 4, 3)).astype(jax.numpy.bfloat16)
    spec = PartitionSpec(sharding.AXIS)

    def work(mine: jax.Array) -> tuple[jax.Array, jax.Array]:
        owned = placement.add_up(mine[0], spec)
        return owned, placement.gather(owned, spec)

    owned, gathered = jax.jit(placement.per_device(work, (spec,), (spec, PartitionSpec())))(ours)
    wanted = ours.astype(np.float32).sum(0)
    layers = [np.asarray(shard.data) for shard in owned.addressable_shards]
    return np.array_equal(np.concatenate(layers), wanted) and np.array_equal(gathered, wanted)


if __name__ == "__main__":
    sharding.SMALLEST = 64
    if sys.argv[1] == "host":
        jax.config.update("jax_cpu_collectives_implementation", "gloo")
        sharding.join_hosts(sys.argv[2], 2, int(sys.argv[3]))
        sys.stdout.write(json.dumps({"whole": losses(sharding.place("cpu"))[0]}) + "\n")
    else:
        two = sharding.place("cpu", 2)
        whole, held_whole = losses(two)
        split, held_split = losses(sharding.place("cpu", 2, split=True))
        found = {"whole": whole, "split": split, "held": [held_whole, held_split], "added": added(two)}
        sys.stdout.write(json.dumps(found) + "\n")

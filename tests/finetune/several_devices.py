"""Trains the small model on two devices of this process, or as one of two hosts; prints the losses as JSON."""

import json
import sys

import jax

from finetune import sharding, stacks, step


def losses(placement: sharding.Placement) -> tuple[list[float], int]:
    """The losses, and the bytes that the first device holds of the parameters."""
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
    held = sum(leaf.addressable_shards[0].data.nbytes for leaf in jax.tree.leaves(state.trained))
    host = placement.to_host(state.trained)
    assert {name: value.shape for name, value in host.items()} == {k: v.shape for k, v in state.trained.items()}
    return found, held


if __name__ == "__main__":
    sharding.SMALLEST = 64
    if sys.argv[1] == "host":
        jax.config.update("jax_cpu_collectives_implementation", "gloo")
        sharding.join_hosts(sys.argv[2], 2, int(sys.argv[3]))
        sys.stdout.write(json.dumps({"whole": losses(sharding.place("cpu"))[0]}) + "\n")
    else:
        whole, bytes_whole = losses(sharding.place("cpu", 2))
        split, bytes_split = losses(sharding.place("cpu", 2, split=True))
        sys.stdout.write(
            json.dumps({"whole": whole, "split": split, "bytes_whole": bytes_whole, "bytes_split": bytes_split}) + "\n"
        )

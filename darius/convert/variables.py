"""Variables of a SavedModel by their readable names, without running or even building any of its functions.

Knows the checkpoint inside a SavedModel and its object graph; knows no codec and no style model.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from darius.errors import BadCheckpoint

_OBJECT_GRAPH = "_CHECKPOINTABLE_OBJECT_GRAPH"
_VALUE = "VARIABLE_VALUE"
_HINT = "Download Magenta RealTime v1 (google/magenta-realtime) again."


class SavedVariables(Mapping[str, NDArray[np.float32]]):
    """A SavedModel's variables by name; each is read when it is asked for.

    Args:
      folder: the SavedModel.
      tf: the TensorFlow module.

    Raises:
      BadCheckpoint: the folder holds no readable checkpoint.
    """

    def __init__(self, folder: Path, tf: Any) -> None:
        from google.protobuf.message import DecodeError  # type: ignore[import-untyped]

        self.folder = folder
        try:
            self._reader = tf.train.load_checkpoint(str(folder / "variables" / "variables"))
            self._shapes: dict[str, list[int]] = self._reader.get_variable_to_shape_map()
            self._graph = _object_graph(self._reader)
            self._keys = _keys_by_name(self._graph, _saved_model(folder))
        except (OSError, ValueError, RuntimeError, DecodeError, tf.errors.OpError) as error:
            raise BadCheckpoint(f"The SavedModel {folder} cannot be read.", _HINT) from error

    def __getitem__(self, name: str) -> NDArray[np.float32]:
        return self._tensor(self._keys[name])

    def __iter__(self) -> Iterator[str]:
        return iter(self._keys)

    def __len__(self) -> int:
        return len(self._keys)

    def shape(self, name: str) -> tuple[int, ...]:
        """Shape of a variable, which is not read."""
        return tuple(self._shapes[self._keys[name]])

    def at(self, path: str) -> NDArray[np.float32]:
        """The variable of an object by its attributes from the root, "_quantizers/3/embeddings".

        Raises:
          BadCheckpoint: there is none.
        """
        missing = BadCheckpoint(f"The SavedModel {self.folder} has no tensor `{path}`.", _HINT)
        node = self._graph.nodes[0]
        for part in path.split("/"):
            found = [child.node_id for child in node.children if child.local_name == part]
            if not found:
                raise missing
            node = self._graph.nodes[found[0]]
        keys = [attribute.checkpoint_key for attribute in node.attributes if attribute.name == _VALUE]
        if not keys:
            raise missing
        return self._tensor(keys[0])

    def _tensor(self, key: str) -> NDArray[np.float32]:
        return np.asarray(self._reader.get_tensor(key), np.float32)


def _keys_by_name(graph: Any, model: Any) -> dict[str, str]:
    """Readable name -> key in the checkpoint.

    The checkpoint's object graph and the SavedModel's number their nodes alike; older writers left the full name out of
    the former. Two variables of one name are kept apart by their keys, which then stand in front.
    """
    nodes = model.meta_graphs[0].object_graph_def.nodes
    keys: dict[str, list[str]] = {}
    for index, node in enumerate(graph.nodes):
        for attribute in node.attributes:
            if attribute.name == _VALUE:
                declared = nodes[index].variable.name if index < len(nodes) else ""
                name = (attribute.full_name or declared or attribute.checkpoint_key).split(":")[0]
                keys.setdefault(name, []).append(attribute.checkpoint_key)
    return {
        name if len(found) == 1 else f"{key}/{name}": key for name, found in keys.items() for key in sorted(set(found))
    }


def _object_graph(reader: Any) -> Any:
    from tensorflow.core.protobuf import trackable_object_graph_pb2

    graph = trackable_object_graph_pb2.TrackableObjectGraph()
    graph.ParseFromString(reader.get_tensor(_OBJECT_GRAPH))
    return graph


def _saved_model(folder: Path) -> Any:
    from tensorflow.core.protobuf import saved_model_pb2

    model = saved_model_pb2.SavedModel()
    model.ParseFromString((folder / "saved_model.pb").read_bytes())
    return model

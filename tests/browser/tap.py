"""What reaches the loudspeaker: an audio worklet of the test's own, put beside the browser's destination.

Knows nothing of the page: whatever any script connects to an AudioContext's destination is also heard here.
"""

from __future__ import annotations

import base64
import json
from typing import Any

import numpy as np

TAP_MODULE = """
registerProcessor("test-tap", class extends AudioWorkletProcessor {
  process([input]) {
    if (input.length) this.port.postMessage(input.map((channel) => channel.slice()));
    return true;
  }
});
"""
TAP_SCRIPT = """
(() => {
  window.tapped = [];
  const connect = AudioNode.prototype.connect;
  AudioNode.prototype.connect = function (target, ...more) {
    if (target instanceof AudioDestinationNode && this.context instanceof AudioContext) {
      const context = this.context;
      const module = URL.createObjectURL(new Blob([TAP_MODULE], {type: "text/javascript"}));
      context.audioWorklet.addModule(module).then(() => {
        const tap = new AudioWorkletNode(context, "test-tap", {numberOfOutputs: 0, channelCount: 2, channelCountMode: "explicit"});
        tap.port.onmessage = ({data}) => window.tapped.push(data);
        connect.call(this, tap);
      });
    }
    return connect.call(this, target, ...more);
  };
})();
""".replace("TAP_MODULE", json.dumps(TAP_MODULE))  # noqa: E501
READ = """() => {
  const blocks = window.tapped;
  const flat = new Float32Array(blocks.length * 256);
  blocks.forEach(([left, right], i) => { flat.set(left, i * 256); flat.set(right, i * 256 + 128); });
  let text = "";
  const bytes = new Uint8Array(flat.buffer);
  for (let at = 0; at < bytes.length; at += 32768) text += String.fromCharCode(...bytes.subarray(at, at + 32768));
  return btoa(text);
}"""
QUANTUM = 128
"""Frames that a browser makes at once."""


class Tap:
    """The loudspeaker of one page."""

    def __init__(self, page: Any) -> None:
        self._page = page

    def heard(self) -> np.ndarray:
        """All so far, float32 [n, 2], silence included."""
        flat = np.frombuffer(base64.b64decode(self._page.evaluate(READ)), "<f4")
        return flat.reshape(-1, 2, QUANTUM).transpose(0, 2, 1).reshape(-1, 2)

    def forget(self) -> None:
        self._page.evaluate("() => { window.tapped = []; }")

    def sounding_seconds(self, rate: int = 48_000) -> float:
        """How much was heard, pauses left out."""
        return len(without_silence(self.heard())) / rate


def without_silence(samples: np.ndarray) -> np.ndarray:
    """The samples without the browser's blocks that are exactly silent."""
    blocks = samples[: len(samples) // QUANTUM * QUANTUM].reshape(-1, QUANTUM, samples.shape[1])
    return blocks[np.any(blocks != 0, axis=(1, 2))].reshape(-1, samples.shape[1])

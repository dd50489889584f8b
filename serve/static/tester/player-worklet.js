// The queue of chunks on the browser's audio thread.

import { ChunkQueue } from "./queue.js";

class ChunkPlayer extends AudioWorkletProcessor {
  constructor() {
    super();
    const queue = new ChunkQueue(sampleRate, (message, transfer) => this.port.postMessage(message, transfer));
    this.port.onmessage = ({ data }) => queue[data.type](data);
    this.queue = queue;
  }

  process(_, [[left, right]]) {
    this.queue.render(left, right, currentTime);
    return true;
  }
}

registerProcessor("chunk-player", ChunkPlayer);

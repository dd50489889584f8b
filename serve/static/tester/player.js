// Sound out of the browser: an audio graph around the queue of chunks, and what it tells. Knows no server.

import { ChunkQueue } from "./queue.js";

export const RATE = 48_000;
const BLOCK = 4_096; // frames made at once where there is no audio thread

/**
 * Events: "begin" (sound starts), "playing" {index}, "dry" (the queue ran empty), "stopped", "take" {channels},
 * "taken" (a recording is complete).
 */
export class Player extends EventTarget {
  /** Hands wait for the sound: less of it lies between here and the ear. Counts when sound is opened first. */
  quick = false;
  #context = null;
  #speak = null; // sends a message to the queue
  #volume = null;
  #loudness = 1;
  #report = { position: 0, time: 0, playing: false };
  #pushed = 0;

  /** Must be called from a click or key the first time: browsers allow sound only then. */
  async open() {
    if (!this.#context) await this.#build();
    if (this.#context.state !== "running") await this.#context.resume();
  }

  /** Begins a stream: nothing queued, position 0. */
  reset() {
    this.#send({ type: "clear" });
    this.#report = { position: 0, time: 0, playing: false };
    this.#pushed = 0;
  }

  /** Queues sound behind all that is queued already; the arrays go to the audio thread. */
  push({ channels, index, start }) {
    const frames = channels[0].length;
    const begins = start ?? this.#pushed;
    this.#pushed = begins + frames;
    const owned = channels.slice(0, 2);
    this.#send({ type: "chunk", channels: owned, index, start: begins }, owned.map((channel) => channel.buffer));
  }

  /** Seconds that must be queued before sound begins. */
  waitFor(seconds) {
    this.#send({ type: "threshold", frames: Math.max(1, Math.round(seconds * RATE)) });
  }

  end() {
    this.#send({ type: "end" });
  }

  stop() {
    this.#send({ type: "stop" });
  }

  record(on) {
    this.#send({ type: "record", on });
  }

  set volume(value) {
    this.#loudness = value;
    this.#volume?.gain.setTargetAtTime(value, this.#context.currentTime, 0.015);
  }

  /** Frames of the stream that have left for the loudspeaker, smooth between reports. */
  get position() {
    const { position, time, playing } = this.#report;
    if (!playing) return position;
    const since = Math.max(0, this.#context.currentTime - time);
    return position + Math.min(since, 0.25) * RATE;
  }

  /** Frame of the stream up to which sound is here. */
  get horizon() {
    return this.#pushed;
  }

  /** Seconds that are queued and not played. */
  get ahead() {
    return Math.max(0, this.#pushed - this.position) / RATE;
  }

  get sounding() {
    return this.#report.playing;
  }

  /** Seconds between the audio thread and the ear, where the browser tells. */
  get outputLatency() {
    return this.#context ? (this.#context.outputLatency || this.#context.baseLatency || 0) : 0;
  }

  async #build() {
    const context = new AudioContext({ sampleRate: RATE, latencyHint: this.quick ? "interactive" : "playback" });
    const node = context.audioWorklet ? await this.#onAudioThread(context) : this.#onThisThread(context);
    const volume = new GainNode(context, { gain: this.#loudness });
    node.connect(volume).connect(context.destination);
    const split = new ChannelSplitterNode(context, { numberOfOutputs: 2 });
    node.connect(split);
    this.levels = [0, 1].map((channel) => {
      const analyser = new AnalyserNode(context, { fftSize: 2048 });
      split.connect(analyser, channel);
      return analyser;
    });
    this.spectrum = new AnalyserNode(context, { fftSize: 8192, smoothingTimeConstant: 0.75 });
    node.connect(this.spectrum);
    [this.#context, this.#volume] = [context, volume];
  }

  async #onAudioThread(context) {
    await context.audioWorklet.addModule(new URL("player-worklet.js", import.meta.url));
    const node = new AudioWorkletNode(context, "chunk-player", { numberOfInputs: 0, outputChannelCount: [2] });
    node.port.onmessage = ({ data }) => this.#hear(data);
    node.onprocessorerror = () => this.#tell("failed", {});
    this.#speak = (message, transfer) => node.port.postMessage(message, transfer);
    return node;
  }

  /** Browsers offer audio threads only to pages from https or from this machine; a phone in the same network has none. */
  #onThisThread(context) {
    const queue = new ChunkQueue(RATE, (message) => this.#hear(message));
    const node = context.createScriptProcessor(BLOCK, 0, 2);
    node.onaudioprocess = ({ outputBuffer, playbackTime }) => {
      const [left, right] = [new Float32Array(BLOCK), new Float32Array(BLOCK)];
      queue.render(left, right, playbackTime);
      outputBuffer.copyToChannel(left, 0);
      outputBuffer.copyToChannel(right, 1);
    };
    this.#speak = (message) => queue[message.type](message);
    return node;
  }

  #hear(message) {
    if (message.type === "at") this.#report = message;
    else this.#tell(message.type, message);
  }

  #tell(type, detail) {
    this.dispatchEvent(new CustomEvent(type, { detail }));
  }

  #send(message, transfer = []) {
    this.#speak?.(message, transfer);
  }
}

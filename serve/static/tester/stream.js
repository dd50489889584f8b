// One jam over the WebSocket: an explicit state machine. Knows the protocol; knows no page and no audio graph.

import { Failure, jamAddress } from "./api.js";
import { decodeWav, fromBase64 } from "./wav.js";

const PING_EVERY = 2_000;
const STOP_WITHIN = 3_000; // a server that does not say "stopped" by then is left alone

/** Why a jam ended that nobody here stopped; a failure was told before by the server itself. */
const ENDINGS = {
  stopped_all: "Someone stopped all jams on this server.",
  model_changed: "The jam ended because another model was chosen. Press Start to hear it.",
  stopped: "The jam was stopped from elsewhere.",
};

/** idle -> connecting -> waiting (for the first chunk) -> running -> stopping -> idle; an error ends in idle too. */
const NEXT = {
  idle: ["connecting"],
  connecting: ["waiting", "idle"],
  waiting: ["running", "stopping", "idle"],
  running: ["stopping", "idle"],
  stopping: ["idle"],
};

/** Events: "state" {state}, "chunk" {channels, index, start, metadata}, "status" {...}, "trip" {seconds}, "failure" Failure. */
export class JamStream extends EventTarget {
  state = "idle";
  #socket = null;
  #sound = null; // a binary frame whose description follows
  #pinged = 0;
  #timer = 0;

  /** @param {object} request the whole `start` message but its type */
  start(request) {
    this.#become("connecting");
    const socket = new WebSocket(jamAddress());
    socket.binaryType = "arraybuffer";
    this.#socket = socket;
    this.#sound = null;
    socket.onopen = () => this.#send({ type: "start", binary_audio: true, ...request });
    socket.onmessage = ({ data }) => this.#guard(() => (typeof data === "string" ? this.#text(data) : this.#binary(data)));
    socket.onclose = (event) => this.#closed(socket, event);
  }

  /** A message to the running jam; without one it goes nowhere. */
  send(message) {
    if (this.playing) this.#send(message);
  }

  stop() {
    if (this.state === "connecting") return this.#finish();
    if (!this.playing) return;
    this.#send({ type: "stop" });
    this.#become("stopping");
    setTimeout(() => this.state === "stopping" && this.#finish(), STOP_WITHIN);
  }

  get playing() {
    return this.state === "waiting" || this.state === "running";
  }

  #text(data) {
    const message = JSON.parse(data);
    const handler = {
      started: () => this.#started(message),
      chunk: () => message.audio_base64 && this.#chunk(fromBase64(message.audio_base64), message),
      chunk_meta: () => this.#described(message),
      status: () => this.#tell("status", message),
      pong: () => this.#tell("trip", { seconds: (performance.now() - this.#pinged) / 1000 }),
      stopped: () => this.#stopped(message.reason),
      error: () => this.#refused(message),
    }[message.type];
    handler?.();
  }

  #binary(data) {
    this.#sound = data;
  }

  #described(message) {
    const sound = this.#sound;
    this.#sound = null;
    if (sound) this.#chunk(sound, message);
  }

  #started(message) {
    this.#become("waiting");
    this.#tell("started", message);
    this.#timer = setInterval(() => this.#ping(), PING_EVERY);
    this.#ping();
  }

  #chunk(bytes, { index, metadata = {} }) {
    if (!this.playing) return;
    const { channels, rate } = decodeWav(bytes);
    if (this.state === "waiting") this.#become("running");
    this.#tell("chunk", { channels, rate, index, start: metadata.start_sample, metadata });
  }

  #stopped(reason) {
    const wanted = this.state === "stopping";
    this.#finish();
    if (!wanted && ENDINGS[reason]) this.#tell("failure", new Failure(ENDINGS[reason], reason));
  }

  #refused({ error, code }) {
    const fatal = this.state === "connecting"; // a start that was refused; later errors leave the jam running
    this.#tell("failure", new Failure(error ?? "The server refused this.", code));
    if (fatal) this.#finish();
  }

  #ping() {
    this.#pinged = performance.now();
    this.#send({ type: "ping" });
  }

  #closed(socket, { code, reason }) {
    if (socket !== this.#socket || this.state === "idle") return;
    const wanted = this.state === "stopping";
    const early = this.state === "connecting";
    this.#finish();
    if (wanted) return;
    const lost = early ? "The server could not be reached for a jam." : "The connection to the server was lost.";
    this.#tell("failure", new Failure(reason || `${lost} Press Start to try again.`, `closed_${code}`));
  }

  #finish() {
    clearInterval(this.#timer);
    const socket = this.#socket;
    this.#socket = null;
    socket?.close();
    this.#become("idle");
  }

  #guard(work) {
    try {
      work();
    } catch (error) {
      this.#tell("failure", new Failure(error.message, "bad_answer"));
    }
  }

  #send(message) {
    if (this.#socket?.readyState === WebSocket.OPEN) this.#socket.send(JSON.stringify(message));
  }

  #become(state) {
    if (state === this.state) return;
    if (!NEXT[this.state].includes(state)) throw new Error(`No way from ${this.state} to ${state}.`);
    this.state = state;
    this.#tell("state", { state });
  }

  #tell(type, detail) {
    this.dispatchEvent(new CustomEvent(type, { detail }));
  }
}

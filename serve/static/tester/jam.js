// A jam as it is heard: chunks from the server into the player, when to wait, when the server is too slow.
// Knows stream and player; knows no page.

import { JamStream } from "./stream.js";
import { RATE } from "./player.js";

const CALM = 15; // seconds without a pause after which the server counts as quick enough again
const MOST_CHUNKS = 3; // that are waited for after pauses, without bars
const QUIET = 0.002; // amplitude (-54 dB) below which nobody hears anything
const QUIET_SECONDS = 6; // of it at the beginning, after which that is said
const ENOUGH = 45; // seconds ahead at which music that is made as fast as possible goes on in real time

/**
 * Events: "state" {state}, "started", "chunk" {channels, start, ...} before it is played, "begin" (first sound),
 * "pause" (the queue ran dry), "silent" (nothing can be heard from the beginning on), "updated", "trip" {seconds},
 * "end" (the last sound), "failure" Failure.
 */
export class Jam extends EventTarget {
  pauses = 0;
  firstSound = null; // seconds from the start to the first sound
  speed = null; // seconds of music a second, known only while the server is the one that is late
  chunkSeconds = 0;
  #stream = new JamStream();
  #player;
  #request = null;
  #began = 0;
  #arrived = 0;
  #pausedAt = -Infinity;
  #heard = false;
  #next = 0;
  #audible = false;

  constructor(player) {
    super();
    this.#player = player;
    const stream = this.#stream;
    stream.addEventListener("state", ({ detail }) => this.#changed(detail.state));
    stream.addEventListener("chunk", ({ detail }) => this.#take(detail));
    stream.addEventListener("status", ({ detail }) => detail.updated !== undefined && this.#tell("updated", detail));
    for (const type of ["trip", "started", "failure"]) stream.addEventListener(type, ({ detail }) => this.#tell(type, detail));
    player.addEventListener("begin", () => this.#begin());
    player.addEventListener("playing", ({ detail }) => this.#bars && stream.send({ type: "consume", chunk_index: detail.index }));
    player.addEventListener("dry", () => this.#dry());
    player.addEventListener("stopped", () => this.#tell("end"));
  }

  get state() {
    return this.#stream.state;
  }

  /** Music has been late lately. */
  get slow() {
    return performance.now() / 1000 - this.#pausedAt < CALM;
  }

  get waitedSeconds() {
    return performance.now() / 1000 - this.#began;
  }

  start(request) {
    Object.assign(this, { pauses: 0, firstSound: null, speed: null, chunkSeconds: 0 });
    [this.#request, this.#began, this.#pausedAt] = [request, performance.now() / 1000, -Infinity];
    [this.#heard, this.#audible, this.#next, this.#arrived] = [false, false, 0, 0];
    this.#player.reset();
    this.#player.waitFor(0);
    this.#stream.start(request);
  }

  update(changes) {
    this.#stream.send({ type: "update", ...changes });
  }

  /** Keys go down, or up with velocity 0; for models that take notes. */
  play(keys) {
    if (keys.length) this.#stream.send({ type: "notes", keys });
  }

  /** @param {string} loop WAV in base64: the music goes on from it, bar on bar */
  reseed(loop) {
    this.#stream.send({ type: "reseed", loop_audio_b64: loop });
  }

  /** Puts the last bars of the loop in the place of the last bars played. */
  splice(loop, bars) {
    this.#stream.send({ type: "reseed_splice", combined_audio_b64: loop, anchor_bars: bars });
  }

  /** Fades out at once. */
  stop() {
    this.#stream.stop();
    this.#player.stop();
  }

  get #bars() {
    return this.#request?.mode === "bar";
  }

  #take(chunk) {
    if (chunk.rate !== RATE) return this.#tell("failure", new Error(`The server plays at ${chunk.rate} Hz, this page at ${RATE}.`));
    const now = performance.now() / 1000;
    const frames = chunk.channels[0].length;
    const late = this.#heard && !this.#player.sounding;
    this.chunkSeconds = frames / RATE;
    if (late || this.#request.params.pace === "asap") this.speed = this.#arrived ? this.chunkSeconds / (now - this.#arrived) : null;
    this.#arrived = now;
    // The page joins chunks end to end itself: only a reseed could leave a hole, and then sound should go on, too.
    const whole = { ...chunk, start: this.#next };
    this.#next += frames;
    this.#tell("chunk", whole);
    this.#listen(whole);
    this.#player.push(whole);
    if (this.#request.params.pace === "asap" && this.#player.ahead > ENOUGH) this.#slowDown();
  }

  #listen({ channels, start }) {
    this.#audible ||= channels.some((channel) => channel.some((sample) => Math.abs(sample) > QUIET));
    const [before, after] = [start / RATE, this.#next / RATE];
    if (!this.#audible && before < QUIET_SECONDS && after >= QUIET_SECONDS) this.#tell("silent");
  }

  /** More would make every knob slow and fill the memory. */
  #slowDown() {
    this.#request.params.pace = "realtime";
    this.#stream.send({ type: "update", pace: "realtime" });
  }

  #begin() {
    if (this.#heard) return;
    this.#heard = true;
    this.firstSound = this.waitedSeconds;
    this.#tell("begin");
  }

  /** With bars each chunk is asked for by playing the one before, so that more than one cannot be waited for. */
  #dry() {
    if (!this.#stream.playing) return;
    this.pauses += 1;
    this.#pausedAt = performance.now() / 1000;
    if (!this.#bars) this.#player.waitFor(this.chunkSeconds * Math.min(MOST_CHUNKS, this.pauses + 1) - 0.1);
    this.#tell("pause");
  }

  #changed(state) {
    if (state === "idle") this.#player.end();
    this.#tell("state", { state });
  }

  #tell(type, detail) {
    this.dispatchEvent(new CustomEvent(type, { detail }));
  }
}

// The loop that a jam goes on from: chosen, dropped or made here; its tempo; how it looks and sounds by itself.

import { Failure } from "./api.js";
import { BEATS, makeBeat } from "./beats.js";
import { RATE } from "./player.js";
import { TapTempo, tempoFromLength, tempoFromName, tidy } from "./tempo.js";
import { base64, encodeWav } from "./wav.js";

const LONGEST = 30; // seconds that are sent; the model hears ten
const SHORTEST = 0.25;

/** Events: "change" (another loop or tempo), "failure" Failure. */
export class LoopPicker extends EventTarget {
  loop = null; // {name, channels, seconds}
  #parts;
  #taps = new TapTempo();
  #preview = null;

  /** @param {Record<string, HTMLElement>} parts drop, file, beats, facts, name, detail, canvas, listen, bpm, beatsPerBar, tap, half, double */
  constructor(parts) {
    super();
    this.#parts = parts;
    this.#takeFiles();
    this.#offerBeats();
    this.#setTempo();
    parts.listen.addEventListener("click", () => this.#listen());
    new ResizeObserver(() => this.#draw()).observe(parts.canvas);
  }

  get bpm() {
    return Number(this.#parts.bpm.value);
  }

  get beatsPerBar() {
    return Number(this.#parts.beatsPerBar.value);
  }

  /** The loop as the server takes it: WAV in base64; null without one. */
  get wire() {
    if (!this.loop) return null;
    return base64(encodeWav(this.loop.channels, RATE, 16));
  }

  /** Any sound file that this browser can decode. */
  async take(blob, name) {
    try {
      this.#use(await decode(blob), name);
    } catch (error) {
      const sentence = error instanceof Failure ? error.message : `“${name}” is no sound file that this browser can read.`;
      this.dispatchEvent(new CustomEvent("failure", { detail: new Failure(sentence, "bad_audio") }));
    }
  }

  takeBeat(name) {
    const { channels, bpm } = makeBeat(name);
    this.#use({ channels, seconds: channels[0].length / RATE }, name, bpm);
  }

  quiet() {
    this.#preview?.stop();
  }

  #use({ channels, seconds }, name, bpm) {
    if (seconds < SHORTEST) throw new Failure(`“${name}” is too short to be a loop.`);
    this.quiet();
    const kept = seconds > LONGEST ? channels.map((channel) => channel.slice(-LONGEST * RATE)) : channels;
    this.loop = { name, channels: kept, seconds: kept[0].length / RATE, cut: seconds > LONGEST };
    const guess = bpm ?? tempoFromName(name) ?? tempoFromLength(seconds, this.beatsPerBar).bpm;
    this.#parts.bpm.value = tidy(guess);
    this.#show();
  }

  #takeFiles() {
    const { drop, file } = this.#parts;
    file.addEventListener("change", () => {
      if (file.files[0]) this.take(file.files[0], file.files[0].name);
      file.value = "";
    });
    // The whole page takes a drop: nobody should have to aim.
    addEventListener("dragover", (event) => {
      if (!event.dataTransfer.types.includes("Files")) return;
      event.preventDefault();
      drop.classList.add("over");
    });
    addEventListener("dragleave", (event) => !event.relatedTarget && drop.classList.remove("over"));
    addEventListener("drop", (event) => {
      drop.classList.remove("over");
      const dropped = event.dataTransfer.files[0];
      if (!dropped) return;
      event.preventDefault();
      this.take(dropped, dropped.name);
    });
  }

  #offerBeats() {
    for (const name of Object.keys(BEATS)) {
      const button = Object.assign(document.createElement("button"), { type: "button", className: "chip", textContent: name });
      button.addEventListener("click", () => this.takeBeat(name));
      this.#parts.beats.append(button);
    }
  }

  #setTempo() {
    const { bpm, beatsPerBar, tap, half, double } = this.#parts;
    const set = (value) => {
      bpm.value = tidy(value);
      this.#show();
    };
    bpm.addEventListener("change", () => this.#show());
    beatsPerBar.addEventListener("change", () => this.#show());
    half.addEventListener("click", () => set(this.bpm / 2));
    double.addEventListener("click", () => set(this.bpm * 2));
    tap.addEventListener("click", () => {
      const tapped = this.#taps.tap();
      if (tapped) set(Math.round(tapped * 2) / 2);
    });
  }

  #show() {
    const { facts, name, detail } = this.#parts;
    facts.hidden = !this.loop;
    if (this.loop) {
      const bars = (this.loop.seconds * this.bpm) / 60 / this.beatsPerBar;
      const near = Math.abs(bars - Math.round(bars)) < 0.03;
      const told = near ? `${Math.round(bars)} ${Math.round(bars) === 1 ? "bar" : "bars"}` : `${bars.toFixed(2)} bars; only whole bars are heard`;
      name.textContent = this.loop.name;
      detail.textContent = `${this.loop.seconds.toFixed(2)} s, ${told}${this.loop.cut ? `; the last ${LONGEST} s of it` : ""}`;
      this.#draw();
    }
    this.dispatchEvent(new Event("change"));
  }

  #draw() {
    const { canvas } = this.#parts;
    if (!this.loop || !canvas.clientWidth) return;
    const scale = window.devicePixelRatio || 1;
    const [width, height] = [canvas.clientWidth, canvas.clientHeight];
    [canvas.width, canvas.height] = [width * scale, height * scale];
    const pencil = canvas.getContext("2d");
    pencil.scale(scale, scale);
    const style = getComputedStyle(canvas);
    const bars = (this.loop.seconds * this.bpm) / 60 / this.beatsPerBar;
    pencil.fillStyle = style.borderTopColor;
    for (let bar = 1; bar < bars - 0.01; bar += 1) pencil.fillRect((bar / bars) * width, 0, 1, height);
    pencil.fillStyle = style.color;
    const samples = this.loop.channels[0];
    const loudest = samples.reduce((most, sample) => Math.max(most, Math.abs(sample)), 0.05);
    for (let x = 0; x < width; x += 3) {
      const from = Math.floor((x / width) * samples.length);
      const part = samples.subarray(from, Math.floor(((x + 3) / width) * samples.length));
      const peak = part.reduce((most, sample) => Math.max(most, Math.abs(sample)), 0) / loudest;
      const tall = Math.max(1.5, peak * (height - 4));
      pencil.fillRect(x, (height - tall) / 2, 2, tall);
    }
  }

  /** Plays the loop round and round by itself, or stops that. */
  async #listen() {
    const { listen } = this.#parts;
    if (this.#preview) return this.#preview.stop();
    const context = new AudioContext({ sampleRate: RATE });
    const { channels } = this.loop;
    const buffer = new AudioBuffer({ length: channels[0].length, numberOfChannels: channels.length, sampleRate: RATE });
    channels.forEach((channel, i) => buffer.copyToChannel(channel, i));
    const source = new AudioBufferSourceNode(context, { buffer, loop: true });
    source.connect(context.destination);
    source.onended = () => {
      this.#preview = null;
      listen.setAttribute("aria-pressed", "false");
      context.close();
    };
    source.start();
    this.#preview = source;
    listen.setAttribute("aria-pressed", "true");
  }
}

async function decode(blob) {
  if (!blob.size) throw new Failure("This file is empty.");
  const buffer = await new OfflineAudioContext(2, 1, RATE).decodeAudioData(await blob.arrayBuffer());
  const count = Math.min(2, buffer.numberOfChannels);
  const channels = Array.from({ length: count }, (_, i) => buffer.getChannelData(i));
  return { channels, seconds: buffer.duration };
}

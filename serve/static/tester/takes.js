// Recordings of what was heard: collected while they run, then kept in a list to download, play on or throw away.

import { RATE } from "./player.js";
import { encodeWav } from "./wav.js";

const BITS = 24;
const LONGEST = 20 * 60; // seconds

/** Events: "change" (recording or not), "full" (too long), "loop" {blob, name} (a take is wanted as the loop). */
export class Takes extends EventTarget {
  recording = false;
  #player;
  #list;
  #template;
  #parts = [];
  #frames = 0;
  #name = "";
  #count = 0;

  constructor(player, list, template) {
    super();
    [this.#player, this.#list, this.#template] = [player, list, template];
    player.addEventListener("take", ({ detail }) => this.#collect(detail.channels));
    player.addEventListener("taken", () => this.#complete());
  }

  /** @param {string} name what the file is called, without its ending */
  start(name) {
    [this.#parts, this.#frames, this.#name] = [[], 0, name];
    this.recording = true;
    this.#player.record(true);
    this.dispatchEvent(new Event("change"));
  }

  stop() {
    if (!this.recording) return;
    this.recording = false;
    this.#player.record(false);
    this.dispatchEvent(new Event("change"));
  }

  get seconds() {
    return this.#frames / RATE;
  }

  /** Turned into bytes at once: half an hour of floats would weigh on a phone. */
  #collect(channels) {
    this.#parts.push(encodeWav(channels, RATE, BITS).subarray(44));
    this.#frames += channels[0].length;
    if (this.seconds > LONGEST) {
      this.stop();
      this.dispatchEvent(new Event("full"));
    }
  }

  #complete() {
    if (!this.#frames) return;
    const bytes = this.#parts.reduce((sum, part) => sum + part.length, 0);
    const blob = new Blob([header(bytes), ...this.#parts], { type: "audio/wav" });
    this.#parts = [];
    this.#show(blob, this.#name, this.seconds);
  }

  #show(blob, name, seconds) {
    this.#count += 1;
    const item = this.#template.content.firstElementChild.cloneNode(true);
    const address = URL.createObjectURL(blob);
    const link = item.querySelector("a");
    Object.assign(link, { href: address, download: `${name}.wav` });
    link.setAttribute("aria-label", `Download take ${this.#count}`);
    item.querySelector(".take-name").textContent = `Take ${this.#count}`;
    item.querySelector(".take-facts").textContent = `${clock(seconds)}, ${(blob.size / 2 ** 20).toFixed(1)} MB`;
    const [again, discard] = item.querySelectorAll("button");
    again.setAttribute("aria-label", `Use take ${this.#count} as the loop`);
    again.addEventListener("click", () => this.dispatchEvent(new CustomEvent("loop", { detail: { blob, name } })));
    discard.setAttribute("aria-label", `Discard take ${this.#count}`);
    discard.addEventListener("click", () => {
      URL.revokeObjectURL(address);
      item.remove();
      this.dispatchEvent(new Event("change"));
    });
    this.#list.prepend(item);
    this.dispatchEvent(new Event("change"));
  }
}

/** 83.4 -> "1:23" */
export function clock(seconds) {
  return `${Math.floor(seconds / 60)}:${String(Math.floor(seconds % 60)).padStart(2, "0")}`;
}

/** The 44 bytes before so many bytes of stereo sound. */
function header(bytes) {
  const bare = encodeWav([new Float32Array(0), new Float32Array(0)], RATE, BITS);
  const view = new DataView(bare.buffer);
  view.setUint32(4, 36 + bytes, true);
  view.setUint32(40, bytes, true);
  return bare;
}

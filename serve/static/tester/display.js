// What moves on the page while music plays: tape, meters, counter, numbers. Draws; decides nothing.

import { LevelMeter, Spectrum } from "./meters.js";
import { RATE } from "./player.js";
import { clock } from "./takes.js";
import { Tape } from "./tape.js";

const CALM_FRAME = 500; // ms between pictures for those who want less motion

export class Display {
  #get;
  #jam;
  #player;
  #tape;
  #meter;
  #spectrum;
  #calm = matchMedia("(prefers-reduced-motion: reduce)");
  #drawn = 0;
  #bars = null;

  /** @param {(id: string) => HTMLElement} get */
  constructor(get, jam, player) {
    [this.#get, this.#jam, this.#player] = [get, jam, player];
    this.#tape = new Tape(get("tape"));
    this.#meter = new LevelMeter(get("meter"));
    this.#spectrum = new Spectrum(get("spectrum"));
    jam.addEventListener("chunk", ({ detail }) => this.#tape.add(detail));
    this.reset(null, null);
    requestAnimationFrame((now) => this.#frame(now));
  }

  /** @param {{bpm: number, beatsPerBar: number} | null} meter; @param {object | null} loop what it goes on from */
  reset(meter, loop) {
    this.#bars = meter;
    this.#tape.reset(meter, loop);
    this.#get("count-name").textContent = meter ? "bar" : "played";
    const dots = Array.from({ length: meter?.beatsPerBar ?? 0 }, () => document.createElement("i"));
    this.#get("beats").replaceChildren(...dots);
    this.#get("count").textContent = meter ? "–" : "0:00";
  }

  /** Shows on the tape that from the next chunk on something is different. */
  mark(label) {
    this.#tape.mark(this.#player.horizon, label);
  }

  #frame(now) {
    requestAnimationFrame((then) => this.#frame(then));
    if (this.#calm.matches && now - this.#drawn < CALM_FRAME) return;
    this.#drawn = now;
    const player = this.#player;
    const heard = Math.max(0, player.position - player.outputLatency * RATE);
    this.#tape.draw(heard, player.horizon);
    this.#meter.draw(player.levels, now);
    this.#spectrum.draw(player.spectrum);
    this.#count(heard);
    this.#numbers();
  }

  #count(heard) {
    if (!this.#player.sounding) return;
    const seconds = heard / RATE;
    if (!this.#bars) {
      this.#write("count", clock(seconds));
      return;
    }
    const beat = Math.floor((seconds * this.#bars.bpm) / 60 + 1e-6);
    this.#write("count", String(Math.floor(beat / this.#bars.beatsPerBar) + 1));
    [...this.#get("beats").children].forEach((dot, i) => dot.classList.toggle("on", i <= beat % this.#bars.beatsPerBar));
  }

  #numbers() {
    const jam = this.#jam;
    this.#write("ahead", `${this.#player.ahead.toFixed(1)} s`);
    this.#write("first-sound", jam.firstSound === null ? "–" : `${jam.firstSound.toFixed(2)} s`);
    this.#write("pauses", String(jam.pauses));
    const keepsUp = jam.state === "running" && !jam.slow;
    this.#write("speed", jam.speed === null ? (keepsUp ? "keeps up" : "–") : `${jam.speed.toFixed(2)}×`);
  }

  #write(id, text) {
    const element = this.#get(id);
    if (element.textContent !== text) element.textContent = text;
  }
}

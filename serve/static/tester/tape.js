// The tape: what was played, what is played, and what is already made and waits. A picture on a canvas.

import { RATE } from "./player.js";

const COLUMN = 2_400; // frames (50 ms) that one stroke of the picture stands for
const KEPT = 20 * 60; // strokes kept of the past: one minute
const HEAD = 0.42; // where the playhead stands, as a part of the width

export class Tape {
  #canvas;
  #pencil;
  #peaks = new Map(); // column -> [left, right], 0 to 1
  #marks = []; // {frame, label}
  #bar = null; // frames of a bar, or null without bars
  #empty = true;

  constructor(canvas) {
    this.#canvas = canvas;
    this.#pencil = canvas.getContext("2d");
    new ResizeObserver(() => this.#fit()).observe(canvas);
    this.#fit();
  }

  /**
   * @param {{bpm: number, beatsPerBar: number} | null} meter of the coming stream
   * @param {{channels: Float32Array[]} | null} loop what the stream goes on from: it ends where the stream begins
   */
  reset(meter, loop = null) {
    this.#peaks.clear();
    this.#marks = [];
    this.#empty = !loop;
    this.#bar = meter ? (meter.beatsPerBar * 60 * RATE) / meter.bpm : null;
    if (loop) this.add({ channels: loop.channels, start: -loop.channels[0].length });
  }

  /** Draws a chunk's sound in; before it goes to the audio thread. */
  add({ channels, start }) {
    this.#empty = false;
    const [left, right = left] = channels;
    for (let at = 0; at < left.length; ) {
      const column = Math.floor((start + at) / COLUMN);
      const stop = Math.min(left.length, (column + 1) * COLUMN - start);
      const [up, down] = this.#peaks.get(column) ?? [0, 0];
      this.#peaks.set(column, [highest(left, at, stop, up), highest(right, at, stop, down)]);
      at = stop;
    }
  }

  /** A flag on the tape: from here on something is different. */
  mark(frame, label) {
    this.#marks = this.#marks.filter((mark) => Math.abs(mark.frame - frame) > COLUMN);
    this.#marks.push({ frame, label });
  }

  /** @param {number} position frame that sounds now; @param {number} horizon frame up to which sound is here */
  draw(position, horizon) {
    const pencil = this.#pencil;
    const { width, height } = this.#size;
    const style = getComputedStyle(this.#canvas);
    const ink = (name) => style.getPropertyValue(`--tape-${name}`).trim();
    pencil.clearRect(0, 0, width, height);
    if (this.#empty) return;
    const head = Math.round(width * HEAD);
    const x = (frame) => head + ((frame - position) / COLUMN) * this.#pitch;
    this.#drawRuler(x, position, ink);
    this.#drawSound(x, position, horizon, ink);
    this.#drawMarks(x, ink);
    pencil.fillStyle = ink("head");
    pencil.fillRect(head - 1, 0, 2, height);
    this.#forget(position);
  }

  get #pitch() {
    return this.#size.width < 600 ? 3 : 4;
  }

  #drawSound(x, position, horizon, ink) {
    const pencil = this.#pencil;
    const { width, height } = this.#size;
    const top = 20;
    const middle = top + (height - top) / 2;
    const room = (height - top) / 2 - 6;
    const stroke = this.#pitch - 1.5;
    const [past, now, future, blank, loop] = ["past", "now", "future", "blank", "loop"].map(ink);
    const first = Math.floor((position - (x(position) / this.#pitch) * COLUMN) / COLUMN) - 1;
    const count = Math.ceil(width / this.#pitch) + 2;
    for (let column = first; column < first + count; column += 1) {
      const at = x(column * COLUMN);
      const peak = this.#peaks.get(column);
      if (!peak) {
        if (column * COLUMN < horizon) continue;
        pencil.fillStyle = blank;
        pencil.fillRect(at, middle - 0.75, stroke, 1.5);
        continue;
      }
      const passed = (column + 1) * COLUMN <= position;
      const before = column < 0 ? loop : past;
      pencil.fillStyle = passed ? before : column * COLUMN <= position ? now : future;
      const [up, down] = peak.map((value) => Math.max(1, loud(value) * room));
      pencil.beginPath();
      pencil.roundRect(at, middle - up, stroke, up + down, stroke / 2);
      pencil.fill();
    }
  }

  /** Bars with their numbers, or seconds. */
  #drawRuler(x, position, ink) {
    const pencil = this.#pencil;
    const { width, height } = this.#size;
    const unit = this.#bar ?? RATE;
    pencil.font = `500 11px ${getComputedStyle(this.#canvas).fontFamily}`;
    pencil.textBaseline = "top";
    const left = position - (x(position) / this.#pitch) * COLUMN;
    const right = left + (width / this.#pitch) * COLUMN;
    const apart = (unit / COLUMN) * this.#pitch;
    const every = Math.max(1, Math.ceil(28 / apart));
    if (left < 0 && this.#peaks.has(-1)) {
      pencil.fillStyle = ink("text");
      pencil.textAlign = "right";
      pencil.fillText("the loop", Math.round(x(0)) - 8, 3);
      pencil.textAlign = "left";
    }
    for (let n = Math.max(0, Math.ceil(left / unit)); n * unit <= right; n += 1) {
      const at = Math.round(x(n * unit));
      pencil.fillStyle = ink("line");
      if (this.#bar || n % every === 0) pencil.fillRect(at, this.#bar ? 20 : 14, 1, this.#bar ? height - 20 : 4);
      pencil.fillStyle = ink("text");
      if (n % every === 0) pencil.fillText(this.#bar ? String(n + 1) : `${n}s`, at + 4, 3);
    }
  }

  #drawMarks(x, ink) {
    const pencil = this.#pencil;
    const { width, height } = this.#size;
    for (const { frame, label } of this.#marks) {
      const at = Math.round(x(frame));
      const wide = pencil.measureText(label).width + 12;
      pencil.fillStyle = ink("mark");
      pencil.fillRect(at, 20, 1.5, height - 20);
      const back = at + wide > width ? wide : 0; // at the right edge the flag flies to the left
      pencil.beginPath();
      pencil.roundRect(at - back, height - 19, wide, 17, back ? [8, 0, 0, 8] : [0, 8, 8, 0]);
      pencil.fill();
      pencil.fillStyle = ink("ground");
      pencil.fillText(label, at - back + 6, height - 16);
    }
  }

  #forget(position) {
    const oldest = Math.floor(position / COLUMN) - KEPT;
    for (const column of this.#peaks.keys()) {
      if (column >= oldest) break; // in the order of time
      this.#peaks.delete(column);
    }
    this.#marks = this.#marks.filter(({ frame }) => frame >= oldest * COLUMN);
  }

  #fit() {
    const { clientWidth: width, clientHeight: height } = this.#canvas;
    const scale = window.devicePixelRatio || 1;
    this.#canvas.width = Math.round(width * scale);
    this.#canvas.height = Math.round(height * scale);
    this.#pencil.setTransform(scale, 0, 0, scale, 0, 0);
  }

  get #size() {
    return { width: this.#canvas.clientWidth, height: this.#canvas.clientHeight };
  }
}

function highest(samples, from, stop, peak) {
  for (let i = from; i < stop; i += 1) if (Math.abs(samples[i]) > peak) peak = Math.abs(samples[i]);
  return peak;
}

/** Amplitude -> height: quiet sound stays visible. */
function loud(value) {
  return Math.min(1, value) ** 0.7;
}

// Chunks played end to end, sample by sample: no gap between them, a short fade where there are no more. Knows samples
// only; runs on the audio thread, or on the page's where a browser has no audio thread to offer.

const FADE = 240; // frames (5 ms) over which sound begins, and ends when nothing follows
const STOP_FADE = 1440; // frames (30 ms) of a fade that was asked for
const REPORT = 2048; // frames between reports of where we are
const TAKE = 8192; // frames of a recording sent at once

export class ChunkQueue {
  /**
   * @param {number} rate frames a second
   * @param {(message: object, transfer?: ArrayBuffer[]) => void} post tells the page: begin, playing {index}, dry,
   *   stopped, at {position, time, playing}, take {channels}, taken
   */
  constructor(rate, post) {
    [this.rate, this.post] = [rate, post];
    this.least = 1; // frames that must be queued before sound begins
    this.recording = null;
    this.clear();
  }

  // What the page says; each method is a message's type.

  /** {channels, start, index}: sound that follows all that was queued before. */
  chunk(message) {
    this.queue.push(message);
    this.queued += message.channels[0].length;
  }

  /** {frames}: wait for so many before sound begins (again). */
  threshold({ frames }) {
    this.least = frames;
  }

  /** No chunk will follow: play out what is there. */
  end() {
    this.ended = true;
    if (!this.queued) this.finish();
  }

  /** Fade out now and forget the queue. */
  stop() {
    if (this.playing) this.stopping = true;
    else this.finish();
  }

  /** {on}: send along what is heard. */
  record({ on }) {
    if (!on) this.sendTake();
    this.recording = on ? { channels: [new Float32Array(TAKE), new Float32Array(TAKE)], filled: 0 } : null;
    if (!on) this.post({ type: "taken" });
  }

  /** A new stream. */
  clear() {
    this.forget();
    this.position = 0; // of the next frame, in the stream
  }

  forget() {
    this.queue = [];
    this.at = 0; // frame within the first chunk
    this.queued = 0; // frames left to play
    this.gain = 0;
    this.playing = this.stopping = this.ended = false;
    this.sinceReport = 0;
  }

  finish() {
    this.forget();
    this.post({ type: "stopped" });
  }

  // Sound.

  /** Fills the next frames of both channels, which hold silence; `time` is when they sound, in seconds. */
  render(left, right, time) {
    if (!this.playing && this.queued && (this.queued >= this.least || this.ended)) {
      this.playing = true;
      this.post({ type: "begin" });
    }
    if (!this.playing) return;
    const filled = this.fill(left, right);
    if (this.recording) this.keep(left, right, filled);
    this.sinceReport += left.length;
    if (this.sinceReport >= REPORT || !this.playing) this.report(time + filled / this.rate);
  }

  fill(left, right) {
    for (let i = 0; i < left.length; i += 1) {
      const chunk = this.queue[0];
      if (this.at === 0) this.post({ type: "playing", index: chunk.index });
      const step = this.stopping ? -1 / STOP_FADE : 1 / FADE;
      this.gain = Math.min(1, this.gain + step, this.queued / FADE);
      if (this.gain <= 0 && this.stopping) {
        this.finish();
        return i;
      }
      left[i] = chunk.channels[0][this.at] * this.gain;
      right[i] = (chunk.channels[1] ?? chunk.channels[0])[this.at] * this.gain;
      this.at += 1;
      this.queued -= 1;
      this.position = chunk.start + this.at;
      if (this.at === chunk.channels[0].length) {
        this.queue.shift();
        this.at = 0;
      }
      if (this.queued === 0) {
        this.dry();
        return i + 1;
      }
    }
    return left.length;
  }

  dry() {
    if (this.ended || this.stopping) {
      this.finish();
      return;
    }
    this.playing = false;
    this.gain = 0;
    this.post({ type: "dry" });
  }

  report(time) {
    this.sinceReport = 0;
    this.post({ type: "at", position: this.position, time, playing: this.playing });
  }

  // Recording: only what sounds, so that pauses of a slow server are not in it.

  keep(left, right, frames) {
    const take = this.recording;
    for (let i = 0; i < frames; i += 1) {
      take.channels[0][take.filled] = left[i];
      take.channels[1][take.filled] = right[i];
      take.filled += 1;
      if (take.filled === TAKE) this.sendTake();
    }
  }

  sendTake() {
    const take = this.recording;
    if (!take?.filled) return;
    const channels = take.channels.map((channel) => channel.slice(0, take.filled));
    this.post({ type: "take", channels }, channels.map((channel) => channel.buffer));
    take.filled = 0;
  }
}

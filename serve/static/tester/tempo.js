// How fast a loop is: from its name, from its length, from taps. Plain arithmetic.

const SLOWEST = 60;
const FASTEST = 190;
const USUAL = 112; // where a guess is most likely right

/** "amen_174bpm.wav", "Loop 90 BPM" -> 174, 90; null if the name says nothing. */
export function tempoFromName(name) {
  const found = /(\d{2,3}(?:\.\d+)?)[\s_-]*bpm/i.exec(name);
  return found ? Number(found[1]) : null;
}

/** The likeliest whole number of bars and the tempo that follows. @returns {{bars: number, bpm: number}} */
export function tempoFromLength(seconds, beatsPerBar) {
  const guesses = [1, 2, 4, 8, 16, 3, 6, 12].map((bars) => ({ bars, bpm: (bars * beatsPerBar * 60) / seconds }));
  const likely = guesses.filter(({ bpm }) => bpm >= SLOWEST && bpm <= FASTEST);
  return (likely.length ? likely : guesses).reduce((best, guess) => (unlikely(guess) < unlikely(best) ? guess : best));
}

/** 119.9987 -> 120; what is not near a whole number keeps two decimals. */
export function tidy(bpm) {
  const whole = Math.round(bpm);
  return Math.abs(bpm - whole) < 0.06 ? whole : Math.round(bpm * 100) / 100;
}

/** Counts taps: returns a tempo from the second tap on, null before. */
export class TapTempo {
  #taps = [];

  tap(now = performance.now()) {
    if (this.#taps.length && now - this.#taps.at(-1) > 2_000) this.#taps = [];
    this.#taps = [...this.#taps, now].slice(-9);
    if (this.#taps.length < 2) return null;
    return (60_000 * (this.#taps.length - 1)) / (now - this.#taps[0]);
  }
}

function unlikely({ bars, bpm }) {
  const far = Math.abs(Math.log2(bpm / USUAL));
  const uneven = Math.abs(bpm - Math.round(bpm)) < 0.06 ? 0 : 0.35; // loops are mostly cut to whole tempi
  const oddBars = Number.isInteger(Math.log2(bars)) ? 0 : 0.6;
  return far + uneven + oddBars;
}

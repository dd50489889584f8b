// Three small loops made on the spot, for those who have none at hand. Plain arithmetic on samples.

const RATE = 48_000;

/** name -> {bpm, bars, make}; each letter of a pattern is a sixteenth, "x" a stroke, "o" a soft one. */
export const BEATS = {
  "Four to the floor": {
    bpm: 122,
    kick: "x...x...x...x...x...x...x...x..o",
    snare: "....x.......x.......x.......x..o",
    hat: "..x...x...x...x...x...x...x.o.x.",
    bass: [[2, 0], [6, 0], [10, 0], [14, 3], [18, 0], [22, 0], [26, -2], [30, -2]],
  },
  "Broken beat": {
    bpm: 92,
    kick: "x.....x...x.....x..x......x.....",
    snare: "....x..o.o..x.......x..o....x.oo",
    hat: "x.x.x.x.x.xox.x.x.x.x.x.xox.x.x.",
    bass: [[0, 0], [6, 7], [10, 5], [16, 0], [19, 3], [26, -5]],
  },
  "Half-time dub": {
    bpm: 140,
    kick: "x.........x.....x.....x.........",
    snare: "........x...............x.....o.",
    hat: "..o.x.o...o.x.o...o.x.o...oox.o.",
    bass: [[0, 0], [3, 0], [10, -2], [16, -4], [19, -4], [28, 3]],
  },
};

/** @returns {{channels: Float32Array[], rate: number, bpm: number}} two bars of 4/4, cut to the sample */
export function makeBeat(name) {
  const { bpm, kick, snare, hat, bass } = BEATS[name];
  const step = (RATE * 60) / bpm / 4;
  const left = new Float32Array(Math.round(step * 32));
  const right = new Float32Array(left.length);
  const strike = (pattern, sound, pan = 0) =>
    [...pattern].forEach((mark, i) => {
      if (mark !== ".") lay(left, right, sound(i), Math.round(i * step), mark === "o" ? 0.35 : 1, pan);
    });
  strike(kick, () => kickSound());
  strike(snare, (i) => snareSound(i));
  strike(hat, (i) => hatSound(i), 0.3);
  for (const [at, tone] of bass) lay(left, right, bassSound(tone, step * 1.8), Math.round(at * step), 1, 0);
  return { channels: [left, right], rate: RATE, bpm };
}

/** Mixes a sound in; what rings beyond the end comes round to the beginning, as in a loop. */
function lay(left, right, sound, at, level, pan) {
  for (let i = 0; i < sound.length; i += 1) {
    const to = (at + i) % left.length;
    left[to] += sound[i] * level * (1 - Math.max(0, pan));
    right[to] += sound[i] * level * (1 + Math.min(0, pan));
  }
}

function kickSound() {
  let phase = 0;
  return render(0.32, (t) => {
    phase += (2 * Math.PI * (48 + 160 * Math.exp(-t * 38))) / RATE;
    return Math.sin(phase) * Math.exp(-t * 9) * 0.75;
  });
}

function snareSound(seed) {
  const noise = noiseFrom(seed + 11);
  return render(0.2, (t) => (noise() * 0.32 + Math.sin(2 * Math.PI * 186 * t) * 0.25) * Math.exp(-t * 22));
}

function hatSound(seed) {
  const noise = noiseFrom(seed + 101);
  let before = 0;
  return render(0.06, (t) => {
    const now = noise();
    const bright = now - before; // a one-zero high-pass
    before = now;
    return bright * 0.14 * Math.exp(-t * 70);
  });
}

function bassSound(tone, frames) {
  const pitch = 55 * 2 ** (tone / 12);
  return render(frames / RATE, (t) => {
    const wave = Math.sin(2 * Math.PI * pitch * t) + 0.35 * Math.sin(4 * Math.PI * pitch * t);
    return wave * 0.26 * Math.min(1, t * 200) * Math.exp(-t * 5);
  });
}

function render(seconds, sample) {
  const end = Math.round(seconds * RATE);
  // The last five milliseconds fade, so that no sound ends in a click.
  return Float32Array.from({ length: end }, (_, i) => sample(i / RATE) * Math.min(1, (end - i) / 240));
}

/** The same noise each time (xorshift), so that a beat is the same loop on every visit. */
function noiseFrom(seed) {
  let state = seed * 2654435761 || 1;
  return () => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return state / 2 ** 31;
  };
}

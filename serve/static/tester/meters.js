// Level and spectrum of what is heard now. Reads analysers; knows no stream.

const FLOOR_DB = -60;
const FALL_DB = 26; // a second
const HOLD = 1.2; // seconds that a peak mark stays
const BANDS = 56;
const [LOWEST, HIGHEST] = [35, 18_000]; // Hz

/** Two bars, left and right, in dB of full scale. */
export class LevelMeter {
  #bars;
  #meter;
  #last = performance.now();
  #shown = [{ level: FLOOR_DB, peak: FLOOR_DB, at: 0 }, { level: FLOOR_DB, peak: FLOOR_DB, at: 0 }];
  #told = 0;

  /** @param {HTMLElement} element role="meter", with two .level bars in it */
  constructor(element) {
    this.#meter = element;
    this.#bars = [...element.querySelectorAll(".level")];
  }

  /** @param {AnalyserNode[]} analysers left and right; none shows silence */
  draw(analysers, now = performance.now()) {
    const passed = (now - this.#last) / 1000;
    this.#last = now;
    this.#shown.forEach((shown, side) => {
      const level = analysers ? peakDb(analysers[side]) : FLOOR_DB;
      shown.level = Math.max(level, shown.level - FALL_DB * passed);
      if (level >= shown.peak || now - shown.at > HOLD * 1000) Object.assign(shown, { peak: level, at: now });
      this.#bars[side]?.style.setProperty("--level", part(shown.level));
      this.#bars[side]?.style.setProperty("--peak", part(shown.peak));
      this.#bars[side]?.classList.toggle("hot", shown.peak > -0.1);
    });
    if (now - this.#told > 500) this.#tell(now);
  }

  #tell(now) {
    this.#told = now;
    const loudest = Math.max(...this.#shown.map(({ peak }) => peak));
    this.#meter.setAttribute("aria-valuenow", Math.round(Math.max(FLOOR_DB, loudest)));
    this.#meter.setAttribute("aria-valuetext", loudest <= FLOOR_DB ? "silent" : `${Math.round(loudest)} decibels`);
  }
}

/** Bars from low to high notes, evenly spaced to the ear. */
export class Spectrum {
  #canvas;
  #pencil;
  #shown = new Float32Array(BANDS);

  constructor(canvas) {
    this.#canvas = canvas;
    this.#pencil = canvas.getContext("2d");
  }

  /** @param {AnalyserNode | undefined} analyser none shows silence */
  draw(analyser) {
    const { clientWidth: width, clientHeight: height } = this.#canvas;
    const scale = window.devicePixelRatio || 1;
    if (this.#canvas.width !== Math.round(width * scale) || this.#canvas.height !== Math.round(height * scale)) {
      this.#canvas.width = Math.round(width * scale);
      this.#canvas.height = Math.round(height * scale);
    }
    const bands = analyser ? bandLevels(analyser) : new Float32Array(BANDS);
    const pencil = this.#pencil;
    pencil.setTransform(scale, 0, 0, scale, 0, 0);
    pencil.clearRect(0, 0, width, height);
    pencil.fillStyle = getComputedStyle(this.#canvas).color;
    const pitch = width / BANDS;
    bands.forEach((level, i) => {
      this.#shown[i] = Math.max(level, this.#shown[i] - 0.03);
      const tall = Math.max(1.5, this.#shown[i] * height);
      pencil.globalAlpha = 0.45 + 0.55 * this.#shown[i];
      pencil.fillRect(i * pitch, height - tall, Math.max(1, pitch - 2), tall);
    });
    pencil.globalAlpha = 1;
  }
}

function peakDb(analyser) {
  const samples = new Float32Array(analyser.fftSize);
  analyser.getFloatTimeDomainData(samples);
  const peak = samples.reduce((most, sample) => Math.max(most, Math.abs(sample)), 0);
  return Math.max(FLOOR_DB, 20 * Math.log10(peak || 1e-6));
}

function part(db) {
  return Math.max(0, Math.min(1, (db - FLOOR_DB) / -FLOOR_DB)).toFixed(3);
}

function bandLevels(analyser) {
  const decibels = new Float32Array(analyser.frequencyBinCount);
  analyser.getFloatFrequencyData(decibels);
  const width = analyser.context.sampleRate / analyser.fftSize;
  const edge = (i) => (LOWEST * (HIGHEST / LOWEST) ** (i / BANDS)) / width;
  return Float32Array.from({ length: BANDS }, (_, i) => {
    let most = -Infinity;
    for (let bin = Math.floor(edge(i)); bin <= Math.floor(edge(i + 1)); bin += 1) most = Math.max(most, decibels[bin]);
    const tilted = most + 4.5 * (i / BANDS - 0.5) * 4; // music falls towards the high notes; the picture should not
    return Math.max(0, Math.min(1, (tilted + 88) / 66));
  });
}

// WAV bytes <-> channels of float samples. Knows no audio graph.

const PCM = 1;
const FLOAT = 3;
const EXTENSIBLE = 0xfffe;

/**
 * @param {ArrayBuffer} buffer a whole WAV file, extra chunks allowed
 * @returns {{rate: number, channels: Float32Array[]}}
 */
export function decodeWav(buffer) {
  const view = new DataView(buffer);
  if (buffer.byteLength < 12 || tag(view, 0) !== "RIFF" || tag(view, 8) !== "WAVE") {
    throw new Error("The server sent something that is not a WAV file.");
  }
  let format = null;
  for (let at = 12; at + 8 <= buffer.byteLength; ) {
    const name = tag(view, at);
    const size = view.getUint32(at + 4, true);
    if (name === "fmt ") format = readFormat(view, at + 8);
    if (name === "data" && format) return { rate: format.rate, channels: samples(buffer, at + 8, size, format) };
    at += 8 + size + (size % 2);
  }
  throw new Error("The server sent a WAV file without sound.");
}

/**
 * @param {Float32Array[]} channels of equal length
 * @param {number} rate samples a second
 * @param {16 | 24} bits
 * @returns {Uint8Array}
 */
export function encodeWav(channels, rate, bits = 16) {
  const bytes = bits / 8;
  const frames = channels[0].length;
  const size = frames * channels.length * bytes;
  const view = new DataView(new ArrayBuffer(44 + size));
  writeHeader(view, { channels: channels.length, rate, bytes, size });
  const top = 2 ** (bits - 1) - 1;
  let at = 44;
  for (let i = 0; i < frames; i += 1) {
    for (const channel of channels) {
      const value = Math.round(Math.max(-1, Math.min(1, channel[i])) * top);
      if (bits === 24) view.setUint8(at, value & 0xff);
      view.setInt16(at + bytes - 2, value >> (bits - 16), true);
      at += bytes;
    }
  }
  return new Uint8Array(view.buffer);
}

/** Standard base64 of bytes, in steps small enough for any argument limit. */
export function base64(bytes) {
  let text = "";
  for (let at = 0; at < bytes.length; at += 0x8000) {
    text += String.fromCharCode(...bytes.subarray(at, at + 0x8000));
  }
  return btoa(text);
}

/** @returns {ArrayBuffer} */
export function fromBase64(text) {
  return Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0)).buffer;
}

function tag(view, at) {
  return String.fromCharCode(view.getUint8(at), view.getUint8(at + 1), view.getUint8(at + 2), view.getUint8(at + 3));
}

function readFormat(view, at) {
  const code = view.getUint16(at, true);
  return {
    kind: code === EXTENSIBLE ? view.getUint16(at + 24, true) : code,
    count: view.getUint16(at + 2, true),
    rate: view.getUint32(at + 4, true),
    bits: view.getUint16(at + 14, true),
  };
}

function samples(buffer, start, size, { kind, count, bits }) {
  const stop = Math.min(start + size, buffer.byteLength);
  const frames = Math.floor((stop - start) / (count * (bits / 8)));
  const read = reader(buffer, start, kind, bits);
  const channels = Array.from({ length: count }, () => new Float32Array(frames));
  for (let i = 0; i < frames; i += 1) {
    for (let c = 0; c < count; c += 1) channels[c][i] = read(i * count + c);
  }
  return channels;
}

function reader(buffer, start, kind, bits) {
  const view = new DataView(buffer, start);
  if (kind === FLOAT && bits === 32) return (i) => view.getFloat32(i * 4, true);
  if (kind === PCM && bits === 16) return (i) => view.getInt16(i * 2, true) / 2 ** 15;
  if (kind === PCM && bits === 24) return (i) => ((view.getInt16(i * 3 + 1, true) << 8) | view.getUint8(i * 3)) / 2 ** 23;
  if (kind === PCM && bits === 32) return (i) => view.getInt32(i * 4, true) / 2 ** 31;
  throw new Error("The server sent a kind of WAV file that this page cannot read.");
}

function writeHeader(view, { channels, rate, bytes, size }) {
  const text = (at, letters) => [...letters].forEach((letter, i) => view.setUint8(at + i, letter.charCodeAt(0)));
  text(0, "RIFF");
  view.setUint32(4, 36 + size, true);
  text(8, "WAVEfmt ");
  view.setUint32(16, 16, true);
  view.setUint16(20, PCM, true);
  view.setUint16(22, channels, true);
  view.setUint32(24, rate, true);
  view.setUint32(28, rate * channels * bytes, true);
  view.setUint16(32, channels * bytes, true);
  view.setUint16(34, bytes * 8, true);
  text(36, "data");
  view.setUint32(40, size, true);
}

// Keyboards that are plugged in, where a browser lets a page hear them. Knows MIDI messages; knows no page.

const DRUM_CHANNEL = 9;
const SUSTAIN = 64;

/** Whether this browser offers MIDI here: only to pages from https or from this machine. */
export const offered = () => typeof navigator.requestMIDIAccess === "function";

/** Events: "key" {pitch, velocity}, velocity 0 for one that goes up; "devices" {names} after every (un)plugging. */
export class MidiKeys extends EventTarget {
  #access = null;
  #pedal = false;
  #sustained = new Set();

  /** Asks the browser, which asks its user. Throws where either of them refuses. */
  async open() {
    if (this.#access) return;
    this.#access = await navigator.requestMIDIAccess();
    this.#access.onstatechange = () => this.#listen();
    this.#listen();
  }

  #listen() {
    const inputs = [...this.#access.inputs.values()].filter((input) => input.state === "connected");
    for (const input of inputs) input.onmidimessage = ({ data }) => this.#hear(data);
    this.#send("devices", { names: inputs.map((input) => input.name) });
  }

  #hear([status, first, second]) {
    if ((status & 0x0f) === DRUM_CHANNEL) return;
    const kind = status & 0xf0;
    if (kind === 0x90 && second > 0) this.#down(first, second);
    else if (kind === 0x80 || kind === 0x90) this.#up(first);
    else if (kind === 0xb0 && first === SUSTAIN) this.#sustain(second >= 64);
  }

  #down(pitch, velocity) {
    if (this.#sustained.delete(pitch)) this.#send("key", { pitch, velocity: 0 }); // struck again
    this.#send("key", { pitch, velocity });
  }

  #up(pitch) {
    if (this.#pedal) this.#sustained.add(pitch);
    else this.#send("key", { pitch, velocity: 0 });
  }

  #sustain(down) {
    this.#pedal = down;
    if (down) return;
    for (const pitch of this.#sustained) this.#send("key", { pitch, velocity: 0 });
    this.#sustained.clear();
  }

  #send(type, detail) {
    this.dispatchEvent(new CustomEvent(type, { detail }));
  }
}

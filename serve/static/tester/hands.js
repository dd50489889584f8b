// What models with notes and drums offer besides words: piano, drums, how strictly both are followed. Shown only for
// models that support them. Knows the panel; knows no socket.

import { dressSlider } from "./knobs.js";
import { MidiKeys, offered } from "./midi.js";
import { nameOf, Piano } from "./piano.js";

const TYPED = "input:not([type=range], [type=radio], [type=checkbox]), select, textarea";

/** Events: "keys" {keys}, "turned" {name} a control moved, "failure" Error. */
export class Hands extends EventTarget {
  piano;
  #get;
  #supports = new Set();
  #midi = new MidiKeys();

  /** @param {(id: string) => HTMLElement} get */
  constructor(get) {
    super();
    this.#get = get;
    this.piano = new Piano(get("piano"));
    this.piano.addEventListener("keys", ({ detail }) => this.#tell("keys", detail));
    this.piano.addEventListener("moved", ({ detail }) => (get("piano-range").textContent = `${nameOf(detail.first)} to ${nameOf(detail.last)}`));
    get("octave-down").addEventListener("click", () => this.piano.shift(-1));
    get("octave-up").addEventListener("click", () => this.piano.shift(1));
    get("latch").addEventListener("click", () => this.#latch());
    get("midi").hidden = !offered();
    get("midi").addEventListener("click", () => this.#openMidi());
    this.#midi.addEventListener("key", ({ detail }) => this.#struck(detail));
    this.#midi.addEventListener("devices", ({ detail }) => this.#plugged(detail.names));
    for (const id of ["notes-guidance", "drums-guidance"]) dressSlider(get(id)).addEventListener("input", () => this.#tell("turned", { name: id.replace("-", " ") }));
    for (const radio of this.#drums) radio.addEventListener("change", () => this.#tell("turned", { name: `drums ${radio.value}` }));
    get("quickness").addEventListener("change", () => this.#tell("turned", { name: "quickness" }));
    addEventListener("keydown", (event) => this.#typed(event, true), { capture: true });
    addEventListener("keyup", (event) => this.#typed(event, false), { capture: true });
  }

  /** The model takes notes. */
  get takesNotes() {
    return this.#supports.has("notes");
  }

  /** Which controls there are. @param {string[]} names as /model/status says it */
  support(names) {
    this.#supports = new Set(names);
    const shown = { "notes-guidance": "notes_guidance", "drums-guidance": "drums_guidance" };
    for (const [id, name] of Object.entries(shown)) this.#get(id).closest(".slider").hidden = !this.#supports.has(name);
    this.#get("hands").hidden = !this.takesNotes && !this.#supports.has("drums");
    this.#get("keys-side").hidden = this.#get("quick-field").hidden = !this.takesNotes;
    this.#get("drums-side").hidden = !this.#supports.has("drums");
    this.#get("typing-hint").hidden = !this.takesNotes;
    this.#get("dice-hint").hidden = this.takesNotes; // D is a note then
    this.#get("roll-all").setAttribute("aria-keyshortcuts", this.takesNotes ? "" : "D");
    if (!this.takesNotes) this.piano.releaseAll();
  }

  /** Controls as the wire wants them; empty where the model has none. */
  get dials() {
    const value = (id) => Number(this.#get(id).value);
    return {
      ...(this.#supports.has("drums") && { drums: this.#drums.find((radio) => radio.checked).value }),
      ...(this.#supports.has("notes_guidance") && { notes_guidance: value("notes-guidance") }),
      ...(this.#supports.has("drums_guidance") && { drums_guidance: value("drums-guidance") }),
    };
  }

  /** Length of chunks without bars, in frames; the server's own where nobody plays along. */
  get chunk() {
    return this.takesNotes ? { max_decode_frames: Number(this.#get("quickness").value) } : {};
  }

  /** What is down already when a jam begins. */
  get held() {
    return this.piano.down.map((pitch) => ({ pitch, velocity: 100 }));
  }

  get #drums() {
    return [...this.#get("drums-side").querySelectorAll("[name=drums]")];
  }

  #typed(event, down) {
    if (!this.takesNotes || (down && (event.ctrlKey || event.metaKey || event.altKey || event.target.matches?.(TYPED)))) return;
    if (!this.piano.knows(event.code)) return;
    if (!event.repeat) this.piano.type(event.code, down);
    if (!down) return;
    event.stopPropagation(); // a note, and no shortcut
    event.preventDefault();
  }

  #latch() {
    this.piano.latch = !this.piano.latch;
    this.#get("latch").setAttribute("aria-pressed", this.piano.latch);
  }

  async #openMidi() {
    try {
      await this.#midi.open();
    } catch {
      this.#tell("failure", new Error("The browser does not let this page hear MIDI keyboards. Allow it for this address, then try again."));
    }
  }

  #plugged(names) {
    this.#get("midi-note").textContent = names.length ? `Hears ${names.join(", ")}.` : "No MIDI keyboard is plugged in; this page will notice one.";
    if (!names.length) return;
    this.#get("midi").hidden = true;
  }

  #struck({ pitch, velocity }) {
    if (!this.takesNotes) return;
    if (velocity) this.piano.hold(pitch, "midi", velocity);
    else this.piano.release(pitch, "midi");
  }

  #tell(type, detail) {
    this.dispatchEvent(new CustomEvent(type, { detail }));
  }
}

// A piano on the page: fingers, mice, the computer's keys, screen readers -> keys that go down and up. Knows no server.

const NAMES = ["C", "C sharp", "D", "D sharp", "E", "F", "F sharp", "G", "G sharp", "A", "A sharp", "B"];
const BLACK = new Set([1, 3, 6, 8, 10]);
const CODES = [
  "KeyA", "KeyW", "KeyS", "KeyE", "KeyD", "KeyF", "KeyT", "KeyG", "KeyY", "KeyH", "KeyU", "KeyJ", "KeyK", "KeyO", "KeyL", "KeyP", "Semicolon",
]; // by their place, so that every layout has the same piano
const LOWEST = 24; // the C that the piano may begin at
const HIGHEST = 84;
const VELOCITY = 100; // where nothing tells how hard

export const nameOf = (pitch) => `${NAMES[pitch % 12]} ${Math.floor(pitch / 12) - 1}`;

/**
 * Events: "keys" {keys: [{pitch, velocity}]}, velocity 0 for a key that goes up; "moved" {octaves shown}.
 *
 * A pitch may be held by several hands at once; it goes up with the last of them.
 */
export class Piano extends EventTarget {
  #element;
  #first = 48;
  #octaves = 0;
  #holders = new Map(); // pitch -> set of hands
  #fingers = new Map(); // pointer -> pitch, null beside the keys
  #latch = false;

  /** @param {HTMLElement} element an empty group */
  constructor(element) {
    super();
    this.#element = element;
    element.addEventListener("pointerdown", (event) => this.#touch(event));
    for (const type of ["pointermove", "pointerup", "pointercancel"]) addEventListener(type, (event) => this.#follow(event));
    element.addEventListener("keydown", (event) => this.#step(event));
    element.addEventListener("keyup", (event) => this.#press(event, false));
    element.addEventListener("click", (event) => this.#click(event));
    element.addEventListener("mousedown", (event) => event.preventDefault()); // the page's own keys keep the focus
    element.addEventListener("contextmenu", (event) => event.preventDefault()); // a long press is a long note
    addEventListener("blur", () => this.releaseAll({ but: "latch" }));
    new ResizeObserver(() => this.#fit()).observe(element);
  }

  /** Pitches that are down. */
  get down() {
    return [...this.#holders.keys()];
  }

  /** Keys stay down until they are pressed again. */
  get latch() {
    return this.#latch;
  }

  set latch(on) {
    this.#latch = on;
    if (!on) this.#release((hand) => hand === "latch");
  }

  /** Moves the keys that are shown by octaves. */
  shift(octaves) {
    const first = this.#first + 12 * octaves;
    if (first < LOWEST || first + 12 * this.#octaves > HIGHEST + 12) return;
    this.releaseAll({ but: "latch" });
    this.#first = first;
    this.#build();
  }

  /** A hand (any name) presses a key. */
  hold(pitch, hand, velocity = VELOCITY) {
    const hands = this.#holders.get(pitch) ?? new Set();
    if (hands.has(hand)) return;
    this.#holders.set(pitch, hands.add(hand));
    if (hands.size === 1) this.#tell([{ pitch, velocity }]);
  }

  release(pitch, hand) {
    this.#release((other) => other === hand, [pitch]);
  }

  /** All keys up, but for those of one hand. */
  releaseAll({ but = null } = {}) {
    this.#fingers.clear();
    this.#release((hand) => hand !== but);
  }

  /** Whether a key of the computer is one of the piano's. */
  knows(code) {
    return CODES.includes(code);
  }

  /** A key of the computer goes down or up. */
  type(code, down) {
    if (down) this.#begin(this.#first + CODES.indexOf(code), code);
    else this.#release((hand) => hand === code); // wherever the piano stood then
  }

  // Hands.

  /** With the latch on, a key that is down goes up instead, and one that goes down stays there. */
  #begin(pitch, hand) {
    if (!this.#latch) return this.hold(pitch, hand);
    if (this.#holders.get(pitch)?.has("latch")) this.release(pitch, "latch");
    else this.hold(pitch, "latch");
  }

  #touch(event) {
    const pitch = pitchOf(event.target);
    if (pitch === null || event.button > 0) return;
    event.preventDefault();
    event.target.releasePointerCapture?.(event.pointerId); // touches would stick to the key where they began
    this.#fingers.set(event.pointerId, pitch);
    this.#begin(pitch, event.pointerId);
    this.#focusable(event.target);
  }

  #follow(event) {
    const { pointerId, type, clientX, clientY } = event;
    if (!this.#fingers.has(pointerId)) return;
    const before = this.#fingers.get(pointerId);
    const lifted = type !== "pointermove";
    const now = lifted ? null : pitchOf(document.elementFromPoint(clientX, clientY));
    if (now === before && !lifted) return;
    if (before !== null) this.release(before, pointerId);
    if (lifted) this.#fingers.delete(pointerId);
    else this.#fingers.set(pointerId, now);
    if (now !== null) this.#begin(now, pointerId);
  }

  /** The arrows walk over the keys, of which one can be reached with Tab. */
  #step(event) {
    const keys = [...this.#element.children];
    const at = keys.indexOf(event.target);
    const to = { ArrowRight: at + 1, ArrowLeft: at - 1, Home: 0, End: keys.length - 1 }[event.key];
    if (to === undefined) return this.#press(event, true);
    event.preventDefault();
    if (!keys[to]) return;
    this.#focusable(keys[to]);
    keys[to].focus();
  }

  #press(event, down) {
    if (event.key !== " " && event.key !== "Enter") return;
    event.preventDefault();
    const pitch = pitchOf(event.target);
    if (pitch === null || event.repeat) return;
    if (down) this.#begin(pitch, event.key);
    else this.#release((hand) => hand === event.key);
  }

  /** What has neither pointer nor keys, such as a screen reader, presses and presses again. */
  #click(event) {
    const pitch = pitchOf(event.target);
    if (pitch === null || event.detail !== 0) return;
    if (this.#holders.get(pitch)?.has("latch")) this.release(pitch, "latch");
    else this.hold(pitch, "latch");
  }

  #release(belongs, pitches = this.down) {
    const up = [];
    for (const pitch of pitches) {
      const hands = this.#holders.get(pitch);
      if (!hands) continue;
      for (const hand of [...hands]) if (belongs(hand)) hands.delete(hand);
      if (hands.size) continue;
      this.#holders.delete(pitch);
      up.push({ pitch, velocity: 0 });
    }
    if (up.length) this.#tell(up);
  }

  // Looks.

  #fit() {
    const width = this.#element.clientWidth;
    const octaves = width > 1000 ? 3 : width > 560 ? 2 : 1;
    if (!width || octaves === this.#octaves) return;
    this.#octaves = octaves;
    this.#first = Math.min(this.#first, HIGHEST + 12 - 12 * octaves);
    this.#build();
  }

  #build() {
    const count = 12 * this.#octaves + 1;
    this.#element.style.setProperty("--whites", 7 * this.#octaves + 1);
    const keys = Array.from({ length: count }, (_, i) => this.#key(this.#first + i, i));
    this.#element.replaceChildren(...keys);
    this.#focusable(keys[0]);
    this.#show();
    this.#send("moved", { first: this.#first, last: this.#first + count - 1 });
  }

  #key(pitch, place) {
    const key = Object.assign(document.createElement("button"), { type: "button", className: "key" });
    const octave = Math.floor(place / 12);
    const whites = Array.from({ length: place % 12 }, (_, i) => i).filter((i) => !BLACK.has(i)).length;
    key.dataset.pitch = pitch;
    key.setAttribute("aria-label", nameOf(pitch));
    key.style.setProperty("--place", 7 * octave + whites);
    key.classList.toggle("black", BLACK.has(pitch % 12));
    const letter = CODES[place]?.replace("Key", "").replace("Semicolon", ";") ?? "";
    const sign = Object.assign(document.createElement("span"), { className: "letter", textContent: letter });
    const name = Object.assign(document.createElement("span"), { className: "name", textContent: pitch % 12 ? "" : `C${pitch / 12 - 1}` });
    key.append(sign, name);
    key.setAttribute("tabindex", -1);
    return key;
  }

  #focusable(key) {
    for (const other of this.#element.children) other.setAttribute("tabindex", other === key ? 0 : -1);
  }

  #show() {
    for (const key of this.#element.children) key.setAttribute("aria-pressed", this.#holders.has(pitchOf(key)));
  }

  #tell(keys) {
    this.#show();
    this.#send("keys", { keys });
  }

  #send(type, detail) {
    this.dispatchEvent(new CustomEvent(type, { detail }));
  }
}

function pitchOf(element) {
  const pitch = element?.closest?.("[data-pitch]")?.dataset.pitch;
  return pitch === undefined ? null : Number(pitch);
}

// What the page says in words: failures, a slow server, and announcements for those who listen to the page.

export class Notices {
  #failure;
  #text;
  #slow;
  #say;
  #passing = false; // the failure shown ends by itself once the server is back

  /** @param {(id: string) => HTMLElement} get */
  constructor(get) {
    [this.#failure, this.#text, this.#slow, this.#say] = ["failure", "failure-text", "slow", "say"].map(get);
    get("failure-close").addEventListener("click", () => this.clear());
  }

  /** Shows a failure until it is closed; `focus` is where it can be mended. */
  fail(sentence, { focus = null, passing = false } = {}) {
    const said = !this.#failure.hidden && this.#text.textContent === sentence;
    if (!said) this.#text.textContent = sentence;
    this.#failure.hidden = false;
    this.#passing = passing;
    focus?.focus();
  }

  clear() {
    this.#failure.hidden = true;
  }

  /** The server is there again. */
  recovered() {
    if (this.#passing) this.clear();
  }

  /** Says it to screen readers only. */
  announce(words) {
    this.#say.textContent = words;
  }

  /** @param {number | null} speed seconds of music a second, where known */
  slow(shown, speed = null) {
    this.#slow.hidden = !shown;
    if (!shown) return;
    const pace = speed && speed < 1 ? ` (about ${speed.toFixed(1)} of real time)` : "";
    const words = `The server makes music slower than it is played${pace}, so there are pauses. Recordings leave them out.`;
    if (this.#slow.textContent !== words) this.#slow.textContent = words;
  }
}

// The words that the music leans towards: rows of text and weight, with dice.

import { MagentaPrompts } from "../../magenta_prompts.js";
import { dressSlider } from "./knobs.js";

const MOST = 6;

/** Events: "change" after any edit. */
export class StyleList extends EventTarget {
  #list;
  #template;
  #adder;

  constructor(list, template, adder) {
    super();
    [this.#list, this.#template, this.#adder] = [list, template, adder];
    adder.addEventListener("click", () => {
      const row = this.add("", 1);
      row.querySelector(".words").focus();
    });
  }

  /** @returns {[string, number][]} rows that have words */
  get value() {
    return this.#rows
      .map((row) => [clean(row.querySelector(".words").value), Number(row.querySelector("[type=range]").value)])
      .filter(([words]) => words);
  }

  set value(rows) {
    this.#list.replaceChildren();
    for (const [words, weight] of rows.slice(0, MOST)) this.add(words, weight);
    if (!rows.length) this.add("", 1);
  }

  add(words, weight) {
    const row = this.#template.content.firstElementChild.cloneNode(true);
    const input = row.querySelector(".words");
    input.value = words;
    const slider = row.querySelector("[type=range]");
    slider.value = weight;
    dressSlider(slider);
    row.querySelector(".dice").addEventListener("click", () => this.#roll(row));
    row.querySelector(".remove").addEventListener("click", () => this.#remove(row));
    row.addEventListener("input", () => this.#changed());
    this.#list.append(row);
    this.#changed();
    return row;
  }

  /** New words in every row. */
  rollAll() {
    this.#rows.forEach((row) => this.#roll(row));
  }

  #roll(row) {
    row.querySelector(".words").value = MagentaPrompts.getNextCyclingStyle();
    row.classList.remove("rolled");
    void row.offsetWidth; // lets the animation begin again
    row.classList.add("rolled");
    this.#changed();
  }

  #remove(row) {
    const neighbour = row.nextElementSibling ?? row.previousElementSibling;
    row.remove();
    (neighbour?.querySelector(".words") ?? this.#adder).focus();
    this.#changed();
  }

  #changed() {
    this.#rows.forEach((row, i) => {
      const words = clean(row.querySelector(".words").value) || `style ${i + 1}`;
      row.querySelector(".words").setAttribute("aria-label", `Style ${i + 1}`);
      row.querySelector("[type=range]").setAttribute("aria-label", `Weight of ${words}`);
      row.querySelector(".dice").setAttribute("aria-label", `Roll the dice for style ${i + 1}`);
      row.querySelector(".remove").setAttribute("aria-label", `Remove ${words}`);
    });
    this.#adder.disabled = this.#rows.length >= MOST;
    this.dispatchEvent(new Event("change"));
  }

  get #rows() {
    return [...this.#list.children];
  }
}

/** Commas part styles on the wire. */
function clean(words) {
  return words.replaceAll(",", " ").replace(/\s+/g, " ").trim();
}

// Sliders with their value beside them, and what they stand for on the wire.

/** Makes every range input show its value and fill its track; `data-unit` follows the number. */
export function dressSlider(input) {
  const output = input.closest(".slider").querySelector("output");
  const digits = (input.step.split(".")[1] ?? "").length;
  const show = () => {
    const part = (input.value - input.min) / (input.max - input.min);
    input.style.setProperty("--part", part);
    const words = input.value === input.dataset.zero ? input.dataset.zeroWords : null;
    const text = words ?? `${Number(input.value).toFixed(digits)}${input.dataset.unit ?? ""}`;
    output.value = text;
    input.setAttribute("aria-valuetext", text);
  };
  input.addEventListener("input", show);
  input.addEventListener("dblclick", () => reset(input));
  show();
  return input;
}

/** Sets a slider as if a hand had. */
export function turn(input, value) {
  input.value = value;
  input.dispatchEvent(new Event("input", { bubbles: true }));
}

/** A new slider with label; the id is its name on the page. */
export function makeSlider({ id, label, min = 0, max = 2, step = 0.01, value = 0 }) {
  const slider = document.createElement("div");
  slider.className = "slider";
  const name = Object.assign(document.createElement("label"), { htmlFor: id, textContent: label });
  const output = Object.assign(document.createElement("output"), { htmlFor: id });
  const input = Object.assign(document.createElement("input"), { type: "range", id, min, max, step });
  input.value = value;
  input.defaultValue = value;
  slider.append(name, output, input);
  dressSlider(input);
  return slider;
}

function reset(input) {
  turn(input, input.defaultValue);
}

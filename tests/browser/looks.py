"""How a page looks to those who see little, hear it read, or have large fingers. Small checks of our own."""

from __future__ import annotations

from typing import Any

CONTROLS = "button, input, select, a[href], summary, [role=meter], canvas[role=img]"
UNNAMED = f"""() => [...document.querySelectorAll({CONTROLS!r})].filter((element) => {{
  const named = (element.getAttribute("aria-label") || "").trim()
    || [...(element.labels ?? [])].some((label) => label.textContent.trim())
    || (!["INPUT", "SELECT"].includes(element.tagName) && element.textContent.trim());
  return !named;
}}).map((element) => element.outerHTML.slice(0, 120))"""
SMALL = f"""(least) => [...document.querySelectorAll({CONTROLS!r})].filter((element) => {{
  if (element.matches(".unseen, [role], footer a") || !element.checkVisibility()) return false;
  const {{ width, height }} = element.getBoundingClientRect();
  return width < least || height < least;
}}).map((element) => element.outerHTML.slice(0, 120))"""
CONTRASTS = """() => {
  const canvas = new OffscreenCanvas(1, 1).getContext("2d", { willReadFrequently: true });
  const rgba = (colour) => {
    canvas.clearRect(0, 0, 1, 1);
    canvas.fillStyle = colour;
    canvas.fillRect(0, 0, 1, 1);
    return [...canvas.getImageData(0, 0, 1, 1).data];
  };
  const light = ([r, g, b]) => {
    const [x, y, z] = [r, g, b].map((v) => (v /= 255) <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
    return 0.2126 * x + 0.7152 * y + 0.0722 * z;
  };
  const ground = (element) => {
    for (let at = element; at; at = at.parentElement) {
      const colour = rgba(getComputedStyle(at).backgroundColor);
      if (colour[3] === 255) return colour;
    }
    return [255, 255, 255, 255];
  };
  const found = [];
  for (const element of document.querySelectorAll("body *")) {
    const words = [...element.childNodes].filter((n) => n.nodeType === 3 && n.data.trim()).map((n) => n.data.trim()).join(" ")
      || (element.matches("input[type=text], input[type=number]") ? element.value || element.placeholder : "");
    if (!words || !element.checkVisibility() || element.closest(".unseen, :disabled, option, template")) continue;
    const [a, b] = [light(rgba(getComputedStyle(element).color)), light(ground(element))];
    found.push([words.slice(0, 40), (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05)]);
  }
  return found;
}"""  # noqa: E501


def unnamed(page: Any) -> list[str]:
    """Controls and pictures that a screen reader could not name."""
    return list(page.evaluate(UNNAMED))


def small_targets(page: Any, *, least: float) -> list[str]:
    """Visible controls that are smaller than `least` CSS pixels in either direction."""
    return list(page.evaluate(SMALL, least))


def contrasts(page: Any) -> list[tuple[str, float]]:
    """Every visible text and its contrast with its ground, as WCAG counts it (1 to 21)."""
    return [(words, float(ratio)) for words, ratio in page.evaluate(CONTRASTS)]

// What the page remembers from one visit to the next: the knobs and words of its owner, on this device only.

const KEY = "darius.settings";

export function recall() {
  try {
    return JSON.parse(localStorage.getItem(KEY)) ?? {};
  } catch {
    return {}; // storage is blocked, or holds something else
  }
}

export function remember(settings) {
  try {
    localStorage.setItem(KEY, JSON.stringify(settings));
  } catch {
    // Storage is blocked or full: the page works without.
  }
}

// What the page remembers, on this device only. Where a browser allows no storage (in a frame, say), nothing breaks.

/** @param {string} name; @param {{tab?: boolean}} where tab: for as long as this tab is open */
export function recall(name, { tab = false } = {}) {
  try {
    return JSON.parse((tab ? sessionStorage : localStorage).getItem(`darius.${name}`));
  } catch {
    return null; // storage is blocked, or holds something else
  }
}

export function remember(name, value, { tab = false } = {}) {
  try {
    (tab ? sessionStorage : localStorage).setItem(`darius.${name}`, JSON.stringify(value));
  } catch {
    // Storage is blocked or full: the page works without.
  }
}

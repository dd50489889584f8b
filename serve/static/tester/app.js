// The page put together: what the hands do becomes messages, what the server says becomes sound, pictures and words.

import { Display } from "./display.js";
import { Hands } from "./hands.js";
import { Jam } from "./jam.js";
import { dressSlider, turn } from "./knobs.js";
import { LoopPicker } from "./loop.js";
import { ModelPanel } from "./models.js";
import { Notices } from "./notices.js";
import { Player } from "./player.js";
import { recall, remember } from "./settings.js";
import { StyleList } from "./styles.js";
import { clock, Takes } from "./takes.js";
import { themeButton } from "./theme.js";

const UPDATE_AFTER = 150; // ms of rest after the last turn of a knob
const LOOK_EVERY = 5_000; // ms between looks at the server
const SPLICED_BARS = 2;
const REMEMBERED = ["temperature", "topk", "guidance", "loop-weight", "glide", "volume", "bars-per-chunk", "notes-guidance", "drums-guidance", "quickness"];

const get = (id) => document.getElementById(id);
const notices = new Notices(get);
const player = new Player();
const jam = new Jam(player);
const takes = new Takes(player, get("takes"), get("take-row"));
const display = new Display(get, jam, player);
const styles = new StyleList(get("styles"), get("style-row"), get("add-style"));
const loops = new LoopPicker({
  drop: get("drop"), file: get("file"), beats: get("built-in"), facts: get("loop-facts"), name: get("loop-name"),
  detail: get("loop-detail"), canvas: get("loop-picture"), listen: get("listen"), bpm: get("bpm"),
  beatsPerBar: get("beats-per-bar"), tap: get("tap"), half: get("half"), double: get("double"),
});
const models = new ModelPanel({
  form: get("model-form"), size: get("size"), repo: get("repo"), revision: get("revision"), step: get("step"),
  find: get("find"), found: get("checkpoints-note"), apply: get("apply"), note: get("model-note"),
  steering: get("steering"), sliders: get("steering-sliders"), key: get("key"), assets: get("assets"),
  load: get("load-assets"),
});
const hands = new Hands(get);
let canPlay = false;
let resting = 0; // timer
let changed = new Set(); // names of knobs that were turned since the last update

// What the hands set.

const mode = () => document.querySelector("[name=mode]:checked").value;
const number = (id) => Number(get(id).value);

function dials() {
  const rows = styles.value;
  return {
    styles: rows.map(([words]) => words).join(", "),
    style_weights: rows.map(([, weight]) => weight.toFixed(2)).join(", "),
    temperature: number("temperature"),
    topk: number("topk"),
    guidance_weight: number("guidance"),
    style_ramp_seconds: number("glide"),
    ...models.steering,
    ...hands.dials,
    ...(mode() === "bar" && { loop_weight: number("loop-weight") }),
  };
}

function startRequest() {
  const seed = get("seed").value === "" ? {} : { seed: number("seed") };
  if (mode() === "rt") {
    const pace = get("asap").checked ? "asap" : "realtime";
    return { mode: "rt", params: { ...dials(), ...seed, ...hands.chunk, overlap: false, pace } };
  }
  const bars = { bpm: loops.bpm, beats_per_bar: loops.beatsPerBar, bars_per_chunk: number("bars-per-chunk"), target_sr: 48_000 };
  return { mode: "bar", loop_audio_b64: loops.wire, params: { ...dials(), ...seed, ...bars, loudness_mode: "auto" } };
}

// Start, stop, record.

async function startOrStop() {
  if (jam.state !== "idle") return jam.stop();
  notices.clear();
  loops.quiet();
  if (mode() === "bar" && !loops.loop) return notices.fail("Choose a loop first: a file of yours, or one of those below.", { focus: get("file") });
  if (mode() === "bar" && !(loops.bpm >= 20 && loops.bpm <= 400)) return notices.fail("Give the loop's tempo, from 20 to 400 bpm.", { focus: get("bpm") });
  try {
    await player.open();
  } catch (error) {
    return notices.fail(`This browser gives no sound: ${error.message}`);
  }
  jam.start(startRequest());
  newTape();
}

/** The tape as it is before a note is played: the loop ends where the music will begin. */
function newTape() {
  const bars = mode() === "bar";
  display.reset(bars ? { bpm: loops.bpm, beatsPerBar: loops.beatsPerBar } : null, bars ? loops.loop : null);
}

function recordOrNot() {
  if (takes.recording) return takes.stop();
  if (jam.state === "idle") return;
  const tempo = mode() === "bar" ? `_${loops.bpm}bpm` : "";
  const words = (styles.value[0]?.[0] ?? loops.loop?.name ?? "").toLowerCase().replace(/[^a-z0-9]+/g, "-");
  const stamp = new Date().toISOString().slice(0, 16).replace(/[T:]/g, "-");
  takes.start(`darius${tempo}_${words || "jam"}_${stamp}`);
}

get("play").addEventListener("click", startOrStop);
get("record").addEventListener("click", recordOrNot);
get("reseed").addEventListener("click", () => {
  jam.reseed(loops.wire);
  display.mark("the loop again");
});
get("splice").addEventListener("click", () => {
  jam.splice(loops.wire, SPLICED_BARS);
  display.mark("the loop's end");
});
get("roll-all").addEventListener("click", () => styles.rollAll());
get("reset-knobs").addEventListener("click", () => {
  for (const id of ["temperature", "topk", "guidance"]) turn(get(id), get(id).defaultValue);
});

addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.target.matches("input, select, textarea, button, summary, a")) return;
  const action = { " ": startOrStop, r: recordOrNot, d: () => styles.rollAll() }[event.key.toLowerCase()];
  if (action) event.preventDefault();
  action?.();
});

// Turning knobs while it plays.

function turned(name) {
  changed.add(name);
  save();
  clearTimeout(resting);
  resting = setTimeout(() => jam.update({ ...dials(), ...(mode() === "rt" && hands.chunk) }), UPDATE_AFTER);
}

/** Guidance is another scale where notes and drums have theirs beside it: tokens from -1 to 7 that the model has learned. */
function guidanceFor(supports) {
  const learned = supports.includes("notes_guidance");
  const slider = get("guidance");
  const before = slider.value === slider.defaultValue;
  Object.assign(slider, learned ? { min: -1, max: 7, step: 0.2, defaultValue: 3 } : { min: 0, max: 8, step: 0.1, defaultValue: 1.1 });
  slider.dataset.zero = learned ? "" : "0";
  turn(slider, before ? slider.defaultValue : slider.value);
}

for (const id of ["temperature", "topk", "guidance", "loop-weight", "glide"]) {
  dressSlider(get(id)).addEventListener("input", () => turned(id.replace("-", " ")));
}
styles.addEventListener("change", () => turned("words"));
models.addEventListener("steering", () => turned("steering"));
models.addEventListener("supports", ({ detail }) => {
  hands.support(detail.names);
  player.quick = hands.takesNotes;
  guidanceFor(detail.names);
});
hands.addEventListener("keys", ({ detail }) => jam.play(detail.keys));
hands.addEventListener("turned", ({ detail }) => turned(detail.name));
hands.addEventListener("failure", ({ detail }) => notices.fail(detail.message));
jam.addEventListener("started", () => jam.play(hands.held));
jam.addEventListener("updated", () => {
  if (changed.size && jam.state === "running") display.mark([...changed].join(", "));
  changed = new Set();
});
get("volume").addEventListener("input", () => {
  player.volume = number("volume") ** 2; // loudness is felt, not counted
  get("volume").style.setProperty("--part", number("volume"));
  save();
});
for (const radio of document.querySelectorAll("[name=mode]")) radio.addEventListener("change", showMode);
get("bars-per-chunk").addEventListener("change", save);

// What the jam says.

jam.addEventListener("state", ({ detail: { state } }) => {
  document.body.dataset.state = state;
  get("play-word").textContent = { idle: "Start", stopping: "Stopping" }[state] ?? "Stop";
  if (state === "waiting") changed = new Set();
  showButtons();
  invite();
});
jam.addEventListener("begin", () => {
  notices.announce("Playing.");
  invite();
});
jam.addEventListener("pause", () => {
  notices.slow(true, jam.speed);
  notices.announce("A pause: the server is late.");
});
jam.addEventListener("end", () => {
  takes.stop();
  notices.announce("Stopped.");
});
jam.addEventListener("silent", () => {
  notices.fail("What it plays is almost silent so far. Small models need a loop to begin with; more guidance or other words may help.");
});
jam.addEventListener("trip", ({ detail }) => (get("trip").textContent = `${Math.round(detail.seconds * 1000)} ms`));
jam.addEventListener("failure", ({ detail }) => notices.fail(detail.message));
player.addEventListener("failed", () => notices.fail("The browser's sound thread broke down. Reload the page."));
loops.addEventListener("failure", ({ detail }) => notices.fail(detail.message, { focus: get("file") }));
loops.addEventListener("change", () => {
  notices.clear();
  if (jam.state === "idle") rewind();
});
takes.addEventListener("change", () => {
  get("record").setAttribute("aria-pressed", takes.recording);
  get("no-takes").hidden = get("takes").children.length > 0;
  notices.announce(takes.recording ? "Recording." : "");
});
takes.addEventListener("full", () => notices.fail("A take ends after twenty minutes; it is in the list."));
takes.addEventListener("loop", ({ detail: { blob, name } }) => {
  document.querySelector("[name=mode][value=bar]").checked = true;
  showMode();
  loops.take(blob, name);
});

setInterval(() => {
  get("record-word").textContent = takes.recording ? clock(takes.seconds) : "Record";
  if (jam.state === "waiting" || jam.state === "connecting") invite();
  notices.slow(jam.slow, jam.speed);
}, 250);

// What the server is.

models.addEventListener("config", ({ detail: { health, config } }) => {
  canPlay = config.loaded;
  const name = [config.repo || config.size || config.model, config.selected_step && `step ${config.selected_step}`].filter(Boolean).join(", ");
  const device = health.probe?.has_gpu ? "GPU" : "CPU";
  get("model-line").textContent = `${name} on this server's ${device}`;
  if (!config.loaded) serverIs("waiting", "The model is loading…");
  else if (!config.warmup_done) serverIs("ready", `${name}, still warming up`);
  else serverIs("ready", `${name}, ready`);
  showButtons();
});
models.addEventListener("failure", ({ detail }) => {
  const gone = ["unreachable", "gpu_unavailable", "template_mode", "unauthorized"].includes(detail.code);
  if (gone) {
    canPlay = false;
    serverIs("gone", detail.code === "unreachable" ? "No server" : "Not available");
    showButtons();
  }
  if (detail.code === "unauthorized") get("model-details").open = true;
  notices.fail(detail.message, { passing: gone });
});

function serverIs(state, words) {
  get("lamp").dataset.is = state;
  get("server-line").textContent = words;
  if (state !== "gone") notices.recovered();
}

// How the page looks.

function invite() {
  const waiting = mode() === "bar" ? "Listening to the loop and making the first bars" : "Making the first seconds";
  const idle = mode() === "bar" && !loops.loop ? "Choose a loop, then press Start." : "Press Start.";
  const words = { idle: player.horizon ? "" : idle, connecting: "Calling the server…", waiting: `${waiting}… ${jam.waitedSeconds.toFixed(0)} s` };
  get("invitation").textContent = words[jam.state] ?? "";
}

function showButtons() {
  get("play").disabled = jam.state === "stopping" || (jam.state === "idle" && !canPlay);
  get("record").disabled = jam.state === "idle" && !takes.recording;
  get("reseeds").hidden = !(jam.state === "running" && mode() === "bar");
  document.querySelectorAll("[name=mode]").forEach((radio) => (radio.disabled = jam.state !== "idle"));
}

function showMode() {
  get("loop-side").hidden = mode() === "rt";
  save();
  rewind();
}

/** Another beginning was chosen: what was played before leaves the tape. */
function rewind() {
  player.reset();
  newTape();
  invite();
}

function save() {
  const knobs = Object.fromEntries(REMEMBERED.map((id) => [id, get(id).value]));
  remember("settings", { knobs, styles: styles.value, mode: mode() });
}

function restore() {
  const { knobs = {}, styles: rows, mode: before } = recall("settings") ?? {};
  for (const id of REMEMBERED) if (knobs[id] !== undefined) turn(get(id), knobs[id]);
  styles.value = Array.isArray(rows) && rows.length ? rows : [["warm electric piano", 1], ["lo-fi hip hop", 0.6]];
  if (before === "rt") document.querySelector("[name=mode][value=rt]").checked = true;
  showMode();
}

themeButton(get("theme"));
restore();
get("volume").dispatchEvent(new Event("input"));
showButtons();
models.refresh();
setInterval(() => document.visibilityState === "visible" && models.refresh(), LOOK_EVERY);

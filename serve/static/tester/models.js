// Which model plays: what the server has, and asking for another. Knows the panel and the calls.

import * as api from "./api.js";
import { makeSlider } from "./knobs.js";

/** Events: "config" {health, config}, "supports" {names} what the model can be told, "steering" (a slider moved), "failure" Failure, "selected". */
export class ModelPanel extends EventTarget {
  config = null;
  #parts;

  /** @param {Record<string, HTMLElement>} parts form, size, repo, revision, step, find, found, apply, note, steering, sliders, key, assets, load */
  constructor(parts) {
    super();
    this.#parts = parts;
    parts.key.value = api.apiKey();
    parts.key.addEventListener("change", () => {
      api.apiKey(parts.key.value.trim());
      this.refresh();
    });
    parts.find.addEventListener("click", () => this.#busy(parts.find, () => this.#find()));
    parts.load.addEventListener("click", () => this.#busy(parts.load, () => this.#loadAssets()));
    parts.form.addEventListener("submit", (event) => {
      event.preventDefault();
      this.#busy(parts.apply, () => this.#select());
    });
  }

  async refresh() {
    try {
      const [health, config] = [await api.health(), await api.config()];
      const modelChanged = config.loaded && (!this.config?.loaded || this.config.model !== config.model);
      const assetsChanged = this.config?.centroid_count !== config.centroid_count || this.config?.mean_loaded !== config.mean_loaded;
      this.config = config;
      if (assetsChanged) this.#offerSteering();
      if (modelChanged) this.#tell("supports", { names: (await api.status()).supports ?? [] });
      this.#tell("config", { health, config });
    } catch (error) {
      this.#tell("failure", error);
    }
  }

  /** Steering as the wire wants it; empty where the model has no assets. */
  get steering() {
    const weights = [...this.#parts.sliders.querySelectorAll("[data-centroid]")].map((input) => input.value);
    const mean = this.#parts.sliders.querySelector("#mean");
    return {
      ...(mean && { mean: Number(mean.value) }),
      ...(weights.length && { centroid_weights: weights.join(",") }),
    };
  }

  #offerSteering() {
    const { steering, sliders } = this.#parts;
    const { mean_loaded: mean, centroid_count: count } = this.config;
    sliders.replaceChildren();
    if (mean) sliders.append(makeSlider({ id: "mean", label: "Mean of the finetune", value: 1 }));
    for (let i = 0; i < (count ?? 0); i += 1) {
      const slider = makeSlider({ id: `centroid-${i + 1}`, label: `Centroid ${i + 1}` });
      slider.querySelector("input").dataset.centroid = i;
      sliders.append(slider);
    }
    steering.hidden = !sliders.children.length;
    sliders.oninput = () => this.dispatchEvent(new Event("steering"));
  }

  /** Fills the list of checkpoints of the repository that is named. */
  async #find() {
    const { repo, revision, step, found } = this.#parts;
    if (!repo.value.trim()) {
      found.textContent = "Name a repository first, for example user/my-finetune.";
      return repo.focus();
    }
    const { steps, latest } = await api.checkpoints(repo.value.trim(), revision.value.trim());
    step.replaceChildren(new Option("latest", "latest"), ...steps.toReversed().map((n) => new Option(`step ${n}`, n)));
    found.textContent = steps.length ? `${steps.length} checkpoints, the newest is step ${latest}.` : "No checkpoints are in there.";
  }

  async #loadAssets() {
    const { assets, repo, note } = this.#parts;
    const from = assets.value.trim() || repo.value.trim();
    if (!from) {
      note.textContent = "Name a repository of assets first.";
      return assets.focus();
    }
    note.textContent = (await api.loadAssets(from)).message || "The assets are loaded.";
    await this.refresh();
  }

  async #select() {
    const { size, repo, revision, step, note, assets } = this.#parts;
    const own = repo.value.trim();
    note.textContent = "Loading; the model that plays now goes on until the new one is ready.";
    const answer = await api.select({
      size: size.value,
      ...(own ? { repo_id: own, revision: revision.value.trim() || "main", step: step.value } : { step: "none" }),
      ...(assets.value.trim() && { assets_repo_id: assets.value.trim() }),
      sync_assets: true,
      prewarm: true,
      stop_active: true,
    });
    note.textContent = `${answer.target_size}${answer.target_step == null ? "" : `, step ${answer.target_step}`} plays from now on.`;
    await this.refresh();
    this.#tell("selected", answer);
  }

  async #busy(button, work) {
    button.disabled = true;
    button.setAttribute("aria-busy", "true");
    try {
      await work();
    } catch (error) {
      this.#parts.note.textContent = "";
      this.#tell("failure", error);
    } finally {
      button.disabled = false;
      button.removeAttribute("aria-busy");
    }
  }

  #tell(type, detail) {
    this.dispatchEvent(new CustomEvent(type, { detail }));
  }
}

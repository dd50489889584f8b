// The server's plain HTTP calls, and failures in words. Knows no page and no sound.

import { recall, remember } from "./settings.js";

const HOME = new URL("../../", import.meta.url); // the server's root, also behind a path prefix
let key = recall("api-key", { tab: true }) ?? "";

/** A failure as a sentence for people; `code` is the server's stable word for it. */
export class Failure extends Error {
  constructor(sentence, code = "failed") {
    super(sentence);
    this.code = code;
  }
}

export const health = () => call("health");
export const config = () => call("model/config");
export const status = () => call("model/status");
export const checkpoints = (repo, revision) =>
  call(`model/checkpoints?${new URLSearchParams({ repo_id: repo, revision: revision || "main" })}`);
export const select = (request) => call("model/select", request);
export const loadAssets = (repo) => call("model/assets/load", { repo_id: repo });

/** Where the jam's WebSocket is. */
export function jamAddress() {
  const address = new URL("ws/jam", HOME);
  address.protocol = address.protocol === "https:" ? "wss:" : "ws:";
  if (apiKey()) address.searchParams.set("api_key", apiKey());
  return address;
}

/** The key that a guarded server asks for; kept for this tab only. */
export function apiKey(value) {
  if (value !== undefined) {
    key = value;
    remember("api-key", value, { tab: true });
  }
  return key;
}

async function call(path, body) {
  const headers = body ? { "Content-Type": "application/json" } : {};
  if (apiKey()) headers["X-API-Key"] = apiKey();
  let response;
  try {
    response = await fetch(new URL(path, HOME), {
      method: body ? "POST" : "GET",
      headers,
      body: body && JSON.stringify(body),
    });
  } catch {
    throw new Failure("The server cannot be reached. Is `darius serve` still running?", "unreachable");
  }
  const answer = await response.json().catch(() => ({}));
  if (!response.ok || answer.ok === false) throw refusal(response, answer);
  return answer;
}

function refusal(response, answer) {
  if (response.status === 401) return new Failure("This server asks for a key. Enter it under Model.", "unauthorized");
  const detail = typeof answer.detail === "string" ? answer.detail : "";
  const sentence = answer.error || answer.message || detail || `The server answered ${response.status}.`;
  return new Failure(sentence, answer.code ?? answer.status);
}

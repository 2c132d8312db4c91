// The HTTP side of the live API. Errors are one line for people.

const KEY = "depthcast-key";

export class Refused extends Error {
  constructor(status, message, retryAfterS) {
    super(message);
    this.status = status;
    this.retryAfterS = retryAfterS;
  }
}

export function rememberKey(key) {
  sessionStorage.setItem(KEY, key);
}

// Relative to the page, so that it also works below a path of a proxy.
export async function request(method, path, { body, type, signal, keepalive = false } = {}) {
  const headers = {};
  const key = sessionStorage.getItem(KEY);
  if (key) headers.Authorization = `Bearer ${key}`;
  if (type) headers["Content-Type"] = type;
  let response;
  try {
    response = await fetch(path, { method, headers, body, signal, keepalive, cache: "no-store" });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Refused(0, "The server cannot be reached.");
  }
  if (!response.ok) throw await refusal(response);
  return response;
}

export async function read(path) {
  return (await request("GET", path)).json();
}

export async function change(path, wishes) {
  return (await request("PATCH", path, { body: JSON.stringify(wishes), type: "application/json" })).json();
}

async function refusal(response) {
  const retryAfterS = Number(response.headers.get("Retry-After")) || undefined;
  let message = `${response.status} ${response.statusText}`;
  try {
    const { detail } = await response.json();
    message = typeof detail === "string" ? detail : detail.map((one) => one.msg).join("; ");
  } catch {
    // The status alone must do.
  }
  return new Refused(response.status, message, retryAfterS);
}

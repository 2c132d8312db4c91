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
  const body = (await response.text().catch(() => "")).trim();
  return new Refused(response.status, wordsOf(body) || `${response.status} ${response.statusText}`, retryAfterS);
}

// Where the reason stands: in plain text (WHIP, WHEP), in `detail`, or in the service's own `error`.
function wordsOf(body) {
  if (!body.startsWith("{")) return body.slice(0, 300);
  try {
    const { detail, error } = JSON.parse(body);
    const words = detail ?? error?.detail ?? error?.title ?? error?.message ?? "";
    return typeof words === "string" ? words : words.map((one) => one.msg).join("; ");
  } catch {
    return "";
  }
}

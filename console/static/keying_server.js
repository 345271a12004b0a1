// Requests to the console, and the server's clock.

const PATIENCE_MS = 10_000;
const CLOCKS_AGREE_MS = 2_000; // the Date header has whole seconds
let offset_ms = 0;
let last_us = 0;

// status 0: no answer came.
export class NoAnswer extends Error {
  constructor(status, text) {
    super(text);
    this.status = status;
  }

  get isSignedOut() {
    return this.status === 401 || this.status === 403;
  }

  // The same request would get the same answer again.
  get isFinal() {
    return this.status >= 400 && this.status < 500 && ![401, 403, 408, 429].includes(this.status);
  }
}

export async function get(path) {
  return (await answered(path, { headers: { accept: "application/json" } })).json();
}

// keepalive: the browser sends it even when the page is being left (64 KiB at most).
export async function post(path, body, csrf, { keepalive = false } = {}) {
  const headers = { "content-type": "application/json", accept: "application/json", "x-csrf-token": csrf };
  const sent = { method: "POST", body: JSON.stringify(body), headers, keepalive };
  return (await answered(path, sent)).json();
}

async function answered(path, init) {
  let answer;
  try {
    answer = await fetch(path, { ...init, redirect: "error", signal: AbortSignal.timeout(PATIENCE_MS) });
  } catch (error) {
    throw new NoAnswer(0, `no answer from the console (${error.message})`);
  }
  setClock(answer.headers.get("date"));
  if (answer.ok) return answer;
  const problem = await answer.json().catch(() => ({}));
  throw new NoAnswer(answer.status, problem.detail ?? `the console answers ${answer.status}`);
}

function setClock(date) {
  const difference_ms = Date.parse(date ?? "") - Date.now();
  if (Number.isNaN(difference_ms) || Math.abs(difference_ms - offset_ms) < CLOCKS_AGREE_MS) return;
  offset_ms = Math.abs(difference_ms) < CLOCKS_AGREE_MS ? 0 : difference_ms;
}

// Microseconds since 1970 by the server's clock.
export const now_us = () => Math.round((Date.now() + offset_ms) * 1000);

// The same, but later than every time it gave before: it orders labels.
export function nextTime_us() {
  last_us = Math.max(last_us + 1, now_us());
  return last_us;
}

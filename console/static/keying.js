// The keying operator's page: one key a decision, shown at once, sent behind the operator's back.

import { cropToKey, isCharacter, isDigit, meaning, onlyCode, openDigits } from "./keying_keys.js";
import { Letters, dispose } from "./keying_letters.js";
import { Outbox } from "./keying_outbox.js";
import { get, nextTime_us } from "./keying_server.js";
import { Screen } from "./keying_screen.js";

const NUM_UNDO = 20;
const IDLE_MS = 90_000; // then the letters are given back
const OWN_FIGURES_MS = 30_000;
const DEADLINE_MS = 200;
const FIRST_PAINT_MS = 25; // requests wait until the next crop is painted

const root = document.getElementById("keying");
const { csrf, who } = root.dataset;
const screen = new Screen(root);
let history = []; // the last keys: {letter, crop, entries, codes}; entries as in the outbox
let insists = null; // an unusual digit that was pressed once
let paused = null; // "rest" or "other tab": nothing can be keyed
let used_at = performance.now();

const outbox = new Outbox({ who, csrf, onChange: connection, onRefused: refused, onReopened: reopened });
const letters = new Letters({
  csrf, onChange: asked, onLost: lost, onErased: erased, answersOf: (id) => outbox.answersOf(id),
  keptIds: () => [...new Set(history.map(({ letter }) => letter.read_id))],
});
const tabs = "BroadcastChannel" in window ? new BroadcastChannel(`digitline-keying:${who}`) : null;

// ---- a key ----

function press(what, began_ms) {
  used_at = performance.now();
  if (paused) return resume();
  const letter = letters.current;
  if (what === "pause") return pause("rest");
  if (what === "undo") undo();
  else if (!letter) return undefined;
  else if (what === "confirm") takeCode(letter);
  else key(letter, what);
  show();
  screen.measure(began_ms);
  return undefined;
}

function key(letter, label) {
  const crop = cropToKey(letter);
  const open = openDigits(letter, crop);
  if (open && isDigit(label) && !open.has(label) && insists !== label) {
    insists = label;
    screen.warn(`${label} fits no valid code here. Press ${label} again to key it nevertheless.`);
    return;
  }
  const isUnusual = insists === label;
  decide(letter, [[crop.index, label]]);
  if (isUnusual) letter.codes = null; // until it is undone
}

function takeCode(letter) {
  const code = onlyCode(letter);
  if (!code) return;
  const left = letter.crops.map((crop, place) => [crop, code[place]])
    .filter(([crop]) => crop.digit === null && !letter.answers.has(crop.index));
  decide(letter, left.map(([crop, digit]) => [crop.index, digit]));
}

function decide(letter, labels) {
  insists = null;
  screen.warn("");
  const crop = cropToKey(letter);
  const entries = labels.map(([crop_index, label]) => {
    letter.answers.set(crop_index, label);
    return entryOf(letter, crop_index, label);
  });
  history.push({ letter, crop, entries, codes: letter.codes });
  if (!cropToKey(letter)) letters.finish();
  if (history.length > NUM_UNDO) closeOldest();
  for (const entry of entries) outbox.add(entry);
  setTimeout(() => letters.fill(), FIRST_PAINT_MS);
}

function entryOf({ read_id }, crop_index, label) {
  return { kind: "label", read_id, crop_index, label, when_us: nextTime_us() };
}

function closeOldest() {
  const { letter } = history.shift();
  const isNeeded = letters.queue.includes(letter) || history.some((one) => one.letter === letter);
  if (!isNeeded) dispose(letter);
}

function undo() {
  if (insists !== null) { // nothing was keyed yet
    insists = null;
    screen.warn("");
    return;
  }
  const last = history.pop();
  if (!last) {
    screen.warn(`Nothing is left to undo; the last ${NUM_UNDO} keys can be undone.`);
    return;
  }
  screen.warn("");
  const { letter, entries } = last;
  letter.codes = last.codes;
  const wasComplete = !letters.queue.includes(letter);
  entries.forEach((entry) => letter.answers.delete(entry.crop_index));
  const wasSent = !outbox.withdraw(entries.map((entry) => entry.when_us));
  if (wasComplete) letters.reopen(letter);
  if (wasComplete && wasSent) {
    letter.isReopening = true;
    outbox.add({ kind: "undo", read_id: letter.read_id, when_us: nextTime_us() });
    // The console takes back the whole letter: say again what still holds.
    for (const [crop_index, label] of letter.answers) outbox.add(entryOf(letter, crop_index, label));
  }
}

// ---- what the console answers ----

function asked() {
  if (letters.trouble) outbox.failed(letters.trouble);
  else if (!outbox.num_waiting) connection("sending", "");
  show();
}

function reopened(read_id, given) {
  const letter = letters.queue.find((one) => one.read_id === read_id);
  if (!letter) return;
  letter.isReopening = false;
  // What was keyed of it before this page was loaded is open again too.
  given.crops.filter((crop) => crop.digit === null).forEach(({ crop_index }) => {
    letter.crops.find((crop) => crop.index === crop_index).digit = null;
  });
  show();
}

function refused(entry, reason) {
  if (entry.kind === "label") screen.refuse(reason);
  letters.drop(entry.read_id, entry.kind === "undo" ? `it cannot be undone: ${reason}` : reason);
  forgetKeys(entry.read_id);
}

function forgetKeys(read_id) {
  history = history.filter((one) => one.letter.read_id !== read_id);
}

function erased(read_id) {
  history.filter((one) => one.letter.read_id === read_id).forEach((one) => dispose(one.letter));
  forgetKeys(read_id);
}

function lost(letter, reason) {
  forgetKeys(letter.read_id);
  insists = null;
  if (reason) screen.warn(`The letter was taken away: ${reason}.`);
}

function connection(state, text) {
  const wasOffline = screen.connection(state, text, outbox);
  if (state === "sending" && wasOffline && !paused) letters.start();
}

// ---- pauses, tabs, leaving ----

function pause(why) {
  paused = why;
  letters.stop({ givesBack: why === "rest" }); // another tab has the same letters
  if (why === "other tab") outbox.stop(); // and sends what waits
  show();
}

function resume() {
  tabs?.postMessage("taken");
  used_at = performance.now();
  paused = null;
  outbox.start();
  letters.start();
  show();
}

async function showOwnFigures() {
  if (paused || document.hidden) return;
  try {
    screen.own(await get("/keying/own"));
  } catch { /* the connection's own message says it */ }
}

function show() {
  screen.show({ letter: letters.current, queue: letters.queue, last: history.at(-1), insists, paused, letters, outbox });
}

document.addEventListener("keydown", (event) => {
  const what = meaning(event) ?? (paused && isCharacter(event) ? "resume" : undefined);
  const isControl = event.target.closest("a, button, summary, input");
  if (!what || (what === "confirm" && isControl)) return;
  event.preventDefault();
  if (!event.repeat) press(what, event.timeStamp); // a key that is held down counts once
});
root.addEventListener("pointerdown", (event) => {
  const button = event.target.closest("button[data-label]");
  if (!button || button.disabled || event.button !== 0) return;
  event.preventDefault(); // the focus stays where it is, and no click follows late
  press(button.dataset.label, event.timeStamp);
});
root.addEventListener("click", (event) => {
  const button = event.target.closest("button");
  if (!button) return;
  if (!button.dataset.label) resume();
  else if (event.detail === 0) press(button.dataset.label, event.timeStamp); // by keyboard or screen reader
});
addEventListener("online", () => { if (!paused) letters.start(); });
tabs?.addEventListener("message", () => pause("other tab"));
addEventListener("pagehide", () => {
  outbox.flush();
  if (!paused) letters.stop({ givesBack: true, keepalive: true });
  history.splice(0).forEach(({ letter }) => dispose(letter)); // a browser may keep the page for "back"
});
addEventListener("pageshow", (event) => { if (event.persisted) location.reload(); });
addEventListener("beforeunload", (event) => { if (outbox.num_waiting && !outbox.isKept) event.preventDefault(); });
setInterval(showOwnFigures, OWN_FIGURES_MS);
setInterval(() => screen.deadline(letters.current), DEADLINE_MS);
setInterval(() => {
  if (!paused && performance.now() - used_at > IDLE_MS) pause("rest");
}, 1000);

root.hidden = false;
screen.others(outbox.othersWaiting());
resume();
showOwnFigures();

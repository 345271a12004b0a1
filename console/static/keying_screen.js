// What the keying page shows. It changes elements that are there; it knows nothing of the network.

import { cropToKey, isDigit, onlyCode, openDigits } from "./keying_keys.js";
import { now_us } from "./keying_server.js";

const NAMES = { not_a_digit: "no digit", two_digits: "two digits", unreadable: "unreadable" };
const NUM_IN_ROW = 12; // crops of a postcode at most; of a longer read a part is shown
const NUM_BEFORE = 5;
const MOST_MEASURES = 1000;
const MOST_COUNTED = 1000; // letters that wait; the console counts no further
const IN_SECONDS_S = 120; // more than these are told in minutes
const number = new Intl.NumberFormat("en");

export class Screen {
  constructor(root) {
    this.root = root;
    this.at = Object.fromEntries([...root.querySelectorAll("[id]")].map((one) => [one.id, one]));
    this.smalls = [...root.querySelectorAll(".keying-small")]; // the last key's crop, the next two
    this.confirm = root.querySelector("[data-label=confirm]");
    this.num_refused = 0;
    this.state = "sending";
  }

  show({ letter, queue, last, insists, paused, letters, outbox }) {
    const isAtWork = Boolean(letter) && !paused;
    this.at.desk.hidden = !isAtWork;
    this.at.idle.hidden = isAtWork;
    write(this.at.waiting, waitingText(letters.num_waiting));
    if (this.state !== "sending") this.connection(this.state, this.cause, outbox);
    if (!isAtWork) return this.idle(paused, letters);
    const crop = cropToKey(letter);
    const code = onlyCode(letter);
    this.row(letter, crop, code);
    this.at.crop.classList.toggle("unusual", insists !== null);
    fill(this.at.crop, crop.images.large);
    this.at.crop.setAttribute("aria-label", `Crop ${letter.crops.indexOf(crop) + 1} of ${letter.crops.length}, to be keyed`);
    this.last(last);
    upcoming(queue, crop).forEach((next, place) => fill(this.smalls[place + 1], next?.images.small));
    this.keys(openDigits(letter, crop), insists, code);
    this.deadline(letter);
    return undefined;
  }

  row(letter, crop, code) {
    letter.cells ??= letter.crops.map(cell);
    const now = letter.crops.indexOf(crop);
    const from = Math.max(0, Math.min(now - NUM_BEFORE, letter.crops.length - NUM_IN_ROW));
    const cells = letter.cells.slice(from, from + NUM_IN_ROW);
    if (this.at.row.firstChild !== cells[0]) this.at.row.replaceChildren(...cells);
    letter.crops.forEach((one, place) => {
      const label = one.digit ?? letter.answers.get(one.index);
      const item = letter.cells[place];
      const text = item.lastChild;
      item.classList.toggle("now", one === crop);
      text.classList.toggle("open", label === undefined);
      text.classList.toggle("given", one.digit !== null);
      text.classList.toggle("words", label in NAMES);
      write(text, NAMES[label] ?? label ?? (code ? code[place] : "?"));
    });
    write(this.at.code, code ? `Only ${code} is left: press Enter or “Take the code”.` : "");
  }

  last(last) {
    fill(this.smalls[0], last?.crop.images?.small);
    const label = last?.entries[0].label;
    write(this.at.before.lastElementChild, NAMES[label] ?? label ?? "");
  }

  keys(open, insists, code) {
    for (const button of this.at.pad.children) {
      const { label } = button.dataset;
      button.classList.toggle("dim", isDigit(label) && Boolean(open) && !open.has(label));
      button.classList.toggle("insists", insists === label);
    }
    this.confirm.disabled = !code;
  }

  idle(paused, letters) {
    const [title, text, action] = idleText(paused, letters);
    const [heading, paragraph, button] = this.at.idle.children;
    heading.textContent = title;
    paragraph.textContent = text;
    button.textContent = action;
    button.hidden = !action;
    this.at.code.textContent = "";
    this.keys(null, null, null);
    // A letter that was given back, or erased, stays in no hidden part of the page.
    [this.at.row, this.at.crop, ...this.smalls].forEach((place) => place.replaceChildren());
    this.deadline(undefined);
  }

  warn(text) {
    write(this.at.notice, text);
  }

  refuse(reason) {
    this.num_refused += 1;
    const count = this.num_refused === 1 ? "1 label was" : `${this.num_refused} labels were`;
    this.at.refused.textContent = `${count} not stored; the last: ${reason}`;
  }

  // Returns whether it was offline before.
  connection(state, cause, outbox) {
    const before = this.state;
    Object.assign(this, { state, cause });
    const num = outbox.num_waiting;
    const waiting = `${num} ${num === 1 ? "label waits" : "labels wait"} in this browser`;
    const advice = outbox.isKept ? "" : "; keep this page open";
    const [kind, text] = {
      sending: ["calm", "Connected"],
      offline: ["watch", `Offline: ${waiting}${advice}. Go on keying.`],
      "signed out": ["act", `Signed out: ${waiting}${advice}.`],
    }[state];
    this.at.connection.className = `badge ${kind}`;
    write(this.at.connection, text);
    this.at.connection.title = cause;
    this.at["sign-in"].hidden = state !== "signed out";
    this.at["sign-in"].firstElementChild.textContent = cause;
    return before !== "sending";
  }

  // Labels of other people that this browser keeps.
  others(names) {
    if (names.length) this.at.refused.textContent = `Labels of ${names.join(", ")} wait in this browser; they are sent when ${names.join(", ")} signs in here.`;
  }

  own({ num_today, keys_per_hour, num_checked, num_agreed }) {
    const checked = num_checked
      ? `${number.format(Math.round((1000 * num_agreed) / num_checked) / 10)} % of ${number.format(num_checked)} checked agree`
      : "none checked yet";
    const speed = keys_per_hour === null ? "" : ` ${number.format(Math.round(keys_per_hour))} keys an hour,`;
    this.at.own.textContent = `You: ${number.format(num_today)} today,${speed} ${checked}`;
  }

  deadline(letter) {
    const { deadline, seconds } = this.at;
    const left_us = letter?.deadline_us ? letter.deadline_us - now_us() : 0;
    deadline.classList.toggle("over", left_us <= 0);
    if (left_us > 0) deadline.value = left_us / Math.max(left_us, letter.deadline_us - letter.arrived_us);
    write(seconds, left_us > 0 ? `${duration(left_us / 1e6)} to save this letter` : "");
  }

  // From the key's own time to the frame that shows its effect, and until that is painted.
  measure(began_ms) {
    requestAnimationFrame(() => {
      performance.measure("key to frame", { start: began_ms, end: performance.now() });
      const { port1, port2 } = new MessageChannel();
      port1.onmessage = () => {
        performance.measure("key to next crop", { start: began_ms, end: performance.now() });
        port1.close();
        if (performance.getEntriesByName("key to next crop").length > MOST_MEASURES) {
          performance.clearMeasures();
        }
      };
      port2.postMessage(null); // handled after the frame is painted
    });
  }
}

// The same text again would cost a layout, and a screen reader would say it twice.
function write(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

function fill(place, image) {
  if (place.firstChild !== (image ?? null)) place.replaceChildren(...(image ? [image] : []));
}

function cell(crop, place) {
  const item = document.createElement("li");
  crop.images.row.alt = `Crop ${place + 1}`;
  item.append(crop.images.row, document.createElement("b"));
  return item;
}

// The next two crops that will be asked for: an operator reads them while pressing a key.
function upcoming(queue, crop) {
  const all = queue.slice(0, 3).flatMap((letter) => letter.crops
    .filter((one) => one.digit === null && !letter.answers.has(one.index)));
  const next = all.slice(all.indexOf(crop) + 1);
  return [next[0], next[1]];
}

function waitingText(num) {
  if (num === null) return "";
  if (num === 1) return "1 letter waits";
  return `${number.format(num)}${num < MOST_COUNTED ? "" : " or more"} letters wait`;
}

function duration(seconds) {
  if (seconds < IN_SECONDS_S) return `${Math.ceil(seconds)} s`;
  const minutes = Math.floor(seconds / 60);
  return minutes < 60 ? `${minutes} min` : `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
}

function idleText(paused, { trouble, num_waiting }) {
  if (paused === "rest") return ["Paused", "Your letters were given back, so that others can key them. Press any key to go on; it is not taken as an answer.", "Go on"];
  if (paused === "other tab") return ["Keying goes on in another tab", "You have opened this page in another tab or window. What you keyed here is kept and sent from there.", "Key here"];
  if (trouble?.isSignedOut) return ["You are not signed in", trouble.message, ""];
  if (trouble) return ["No letters arrive", `All that were here are keyed: ${trouble.message}. This page asks again every 2 s.`, ""];
  if (num_waiting === null) return ["Letters are on their way", "", ""];
  if (num_waiting) return ["The letters that wait are for others", "Somebody else has them, or you have keyed them and a second person is asked. This page asks for the next one every 2 s.", ""];
  return ["No letter waits", "A letter that the service rejects, or picks for an audit, appears here within seconds. Nothing appears while the service captures nothing: start it with DIGITS_CAPTURE_DIR set to the same folder as for this console.", ""];
}

// Labels on their way: kept in this browser until the console has acknowledged them, sent in order.
//
// An entry is {kind: "label", read_id, crop_index, label, when_us} or {kind: "undo", read_id, when_us}.
// Each has its own item of localStorage, so that two tabs do not overwrite each other's.

import { post } from "./keying_server.js";

const MOST_IN_A_POST = 200; // of 1,024 that the console takes
const WAITS_MS = [500, 1000, 2000, 5000, 10_000];
const FIRST_PAINT_MS = 25;
const PREFIX = "digitline-keying";

export class Outbox {
  // onChange({state, text}): state is "sending", "offline" or "signed out".
  // onRefused(entry, reason), onReopened(letter): what the console answered.
  constructor({ who, csrf, onChange, onRefused, onReopened }) {
    Object.assign(this, { who, csrf, onChange, onRefused, onReopened });
    this.prefix = `${PREFIX}:${encodeURIComponent(who)}:`;
    this.entries = [];
    this.num_tries = 0;
    this.isSending = false;
    this.isStopped = false;
    this.isKept = true;
    this.wake = () => {};
    this.load();
    addEventListener("online", () => this.retry());
    addEventListener("offline", () => this.onChange("offline", "this device has no connection"));
    addEventListener("storage", (event) => this.follow(event));
  }

  get num_waiting() {
    return this.entries.filter((entry) => entry.kind === "label").length;
  }

  // Labels that an earlier page, or another tab, has left here.
  load() {
    for (const key of Object.keys(localStorage).filter((one) => one.startsWith(this.prefix)).sort()) {
      this.entries.push({ ...JSON.parse(localStorage.getItem(key)), key, wasTried: true });
    }
  }

  // Names of other people whose labels wait in this browser; only they can send them.
  othersWaiting() {
    const mine = encodeURIComponent(this.who);
    const names = Object.keys(localStorage).map((key) => key.split(":"))
      .filter(([prefix, name]) => prefix === PREFIX && name !== mine)
      .map(([, name]) => decodeURIComponent(name));
    return [...new Set(names)];
  }

  add(entry) {
    const key = `${this.prefix}${String(entry.when_us).padStart(20, "0")}`;
    this.entries.push({ ...entry, key, wasTried: false });
    try {
      localStorage.setItem(key, JSON.stringify(entry));
    } catch {
      this.isKept = false; // full or forbidden: the labels last as long as this page
    }
    this.send();
  }

  // What was keyed of a letter before the page was loaded again: crop index -> label.
  answersOf(read_id) {
    const found = new Map();
    for (const entry of this.entries.filter((one) => one.read_id === read_id)) {
      if (entry.kind === "undo") found.clear();
      else found.set(entry.crop_index, entry.label);
    }
    return found;
  }

  // Take labels back that were never sent; false where one may have reached the console.
  withdraw(times_us) {
    const found = this.entries.filter((entry) => times_us.includes(entry.when_us));
    if (found.length < times_us.length || found.some((entry) => entry.wasTried)) return false;
    found.forEach((entry) => this.remove(entry));
    return true;
  }

  retry() {
    this.num_tries = 0;
    this.wake();
    this.send();
  }

  stop() {
    this.isStopped = true;
  }

  start() {
    this.isStopped = false;
    this.send();
  }

  // Send everything once more while the page is left; what stays unacknowledged is sent next time.
  flush() {
    const labels = this.entries.filter((entry) => entry.kind === "label").slice(0, MOST_IN_A_POST);
    if (labels.length && this.entries[0].kind === "label") {
      post("/keying/labels", { labels: labels.map(bare) }, this.csrf, { keepalive: true }).catch(() => {});
    }
  }

  async send() {
    if (this.isSending) return;
    this.isSending = true;
    while (this.entries.length && (!this.isStopped || !this.isKept)) {
      try {
        await this.sendFirst();
        this.num_tries = 0;
        this.onChange("sending", "");
      } catch (error) {
        this.failed(error);
        const wait_ms = WAITS_MS[Math.min(this.num_tries++, WAITS_MS.length - 1)];
        await new Promise((done) => { this.wake = done; setTimeout(done, wait_ms); });
      }
    }
    this.isSending = false;
  }

  failed(error) {
    this.onChange(error.isSignedOut ? "signed out" : "offline", error.message);
  }

  async sendFirst() {
    await new Promise((done) => setTimeout(done, FIRST_PAINT_MS)); // the next crop goes first
    if (!this.entries.length) return;
    if (this.entries[0].kind === "undo") return this.sendUndo(this.entries[0]);
    const firstUndo = this.entries.findIndex((entry) => entry.kind === "undo");
    const end = firstUndo < 0 ? this.entries.length : firstUndo;
    return this.sendLabels(this.entries.slice(0, Math.min(end, MOST_IN_A_POST)));
  }

  async sendUndo(entry) {
    entry.wasTried = true;
    try {
      const { letter } = await post("/keying/undo", { read_id: entry.read_id }, this.csrf);
      this.onReopened(entry.read_id, letter);
    } catch (error) {
      if (!error.isFinal) throw error;
      this.onRefused(entry, error.message);
    }
    this.remove(entry);
  }

  async sendLabels(entries) {
    entries.forEach((entry) => { entry.wasTried = true; });
    let results;
    try {
      ({ results } = await post("/keying/labels", { labels: entries.map(bare) }, this.csrf));
    } catch (error) {
      if (!error.isFinal) throw error;
      if (entries.length === 1) results = [{ status: "refused", reason: error.message }];
      else { // one of them is unfit: find out which
        for (const entry of entries) await this.sendLabels([entry]);
        return;
      }
    }
    if (results?.length !== entries.length) throw new Error("the console's answer does not name each label");
    entries.forEach((entry, position) => {
      this.remove(entry);
      if (results[position].status === "refused") this.onRefused(entry, results[position].reason);
    });
  }

  remove(entry) {
    this.entries = this.entries.filter((one) => one !== entry);
    localStorage.removeItem(entry.key);
  }

  // Another tab of the same person has added or acknowledged a label.
  follow(event) {
    if (!event.key?.startsWith(this.prefix)) return;
    const known = this.entries.find((entry) => entry.key === event.key);
    if (event.newValue === null && known) this.entries = this.entries.filter((one) => one !== known);
    if (event.newValue !== null && !known) {
      this.entries.push({ ...JSON.parse(event.newValue), key: event.key, wasTried: true });
      this.send();
    }
  }
}

const bare = ({ read_id, crop_index, label, when_us }) => ({ read_id, crop_index, label, when_us });

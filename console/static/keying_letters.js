// The queue of letters: leased ahead with their pictures, prolonged while somebody keys.

import { cropToKey } from "./keying_keys.js";
import { get, now_us, post } from "./keying_server.js";

const NUM_AHEAD = 20; // the most that the console leases at once
const REFILL_BELOW = 16; // so that 10 are ahead although an answer takes a second or two
const LOOK_AGAIN_MS = 2_000;
const PROLONG_MS = 20_000; // of a lease of 60 s
const NUM_SHOWN = 3; // the letter in work and those beside it keep their places

export class Letters {
  // onChange(): the queue or the connection has changed.
  // onLost(letter, reason): it is not to be keyed here any more; reason "" where that was our wish.
  // onErased(read_id): no picture of it may stay.
  // answersOf(read_id): labels of an earlier page that are still on their way.
  // keptIds(): letters that are keyed, and whose pictures are kept for undo.
  constructor({ csrf, onChange, onLost, onErased, answersOf, keptIds }) {
    Object.assign(this, { csrf, onChange, onLost, onErased, answersOf, keptIds });
    this.queue = []; // [0] is in work
    this.loading = new Set(); // whose pictures are on their way
    this.seen = new Set(); // read_ids that this page has, or has completed
    this.num_waiting = null; // letters that the console has, leased or not
    this.trouble = null; // why the console gives none, or does not prolong them
    this.isOn = false;
    this.isFilling = false;
    this.isDry = false; // the console had no more at the last look
    setInterval(() => { this.isDry = false; this.fill(); }, LOOK_AGAIN_MS);
    setInterval(() => this.prolong(), PROLONG_MS);
  }

  get current() {
    return this.queue[0];
  }

  start() {
    this.isOn = true;
    this.isDry = false;
    this.prolong();
    this.fill();
  }

  // Empty the queue. Others get the letters at once, if they are given back.
  stop({ givesBack, keepalive = false }) {
    this.isOn = false;
    this.givesBack = givesBack;
    const all = [...this.queue, ...this.loading];
    all.forEach((letter) => this.forget(letter, ""));
    this.loading.clear();
    this.num_waiting = null;
    this.giveBack(all, keepalive);
  }

  giveBack(all, keepalive = false) {
    const read_ids = all.map((letter) => letter.read_id);
    if (!this.givesBack || !read_ids.length) return;
    post("/keying/leases", { read_ids, action: "release" }, this.csrf, { keepalive }).catch(() => {});
  }

  async fill() {
    const isNeeded = this.isOn && this.queue.length < REFILL_BELOW;
    if (!isNeeded || this.isFilling || this.isDry) return undefined;
    this.isFilling = true;
    try {
      const has = this.queue.map((letter) => letter.read_id).join();
      const answer = await get(`/keying/letters?num=${NUM_AHEAD}&has=${encodeURIComponent(has)}`);
      if (!this.isOn) return this.giveBack(answer.letters);
      this.trouble = null;
      this.num_waiting = answer.waiting;
      const fresh = answer.letters.filter((given) => !this.seen.has(given.read_id))
        .map((given) => made(given, this.answersOf(given.read_id)));
      this.isDry = fresh.length === 0;
      fresh.forEach((letter) => this.seen.add(letter.read_id));
      await this.load(fresh.filter(cropToKey));
    } catch (error) {
      this.trouble = error;
    } finally {
      this.isFilling = false;
    }
    this.onChange();
    return undefined;
  }

  // Queue letters in the order in which they were given, each when it has its pictures.
  async load(fresh) {
    fresh.forEach((letter) => this.loading.add(letter));
    const loads = fresh.map((letter) => Promise.allSettled(letter.crops.map(loadPicture)));
    for (const [position, letter] of fresh.entries()) {
      const failure = (await loads[position]).find((one) => one.status === "rejected")?.reason;
      if (this.loading.delete(letter) && !failure) this.insert(letter);
      else {
        dispose(letter);
        // An erased letter is not asked for again; one whose picture did not arrive is.
        if (failure?.status !== 404) this.seen.delete(letter.read_id);
      }
    }
  }

  // By deadline, behind those that are on the screen already.
  insert(letter) {
    const key = (one) => one.deadline_us ?? Infinity;
    const place = this.queue.findIndex((one, at) => at >= NUM_SHOWN && key(one) > key(letter));
    this.queue.splice(place < 0 ? this.queue.length : place, 0, letter);
    if (this.queue.length <= NUM_SHOWN) this.onChange();
  }

  // The current letter is complete.
  finish() {
    return this.queue.shift();
  }

  // A letter that was complete is keyed again.
  reopen(letter) {
    this.queue.unshift(letter);
  }

  drop(read_id, reason) {
    const letter = this.queue.find((one) => one.read_id === read_id);
    if (!letter) return;
    this.forget(letter, reason);
    this.onChange();
  }

  forget(letter, reason) {
    const wasCurrent = letter === this.current;
    this.queue = this.queue.filter((one) => one !== letter);
    this.seen.delete(letter.read_id); // the console may lend it again
    dispose(letter);
    this.onLost(letter, wasCurrent ? reason : "");
  }

  // Keep the leases; whatever the console no longer lends is taken off the queue. It also says
  // which letters are erased, so it is asked as long as the page has a picture.
  async prolong() {
    const held = this.queue.filter((letter) => !letter.isReopening).map((letter) => letter.read_id);
    const kept = this.keptIds();
    if (!held.length && !kept.length) return;
    try {
      const asked = { read_ids: held, kept, action: "prolong" };
      const { until_us, erased } = await post("/keying/leases", asked, this.csrf);
      const gone = this.queue.filter((letter) => held.includes(letter.read_id)
        && !letter.isReopening && !until_us[letter.read_id]);
      gone.forEach((letter) => this.drop(letter.read_id, "it was given to somebody else or erased"));
      erased.forEach((read_id) => this.onErased(read_id));
      this.trouble = null;
    } catch (error) {
      this.trouble = error;
    }
    this.onChange();
  }
}

function made(given, answers) {
  return {
    read_id: given.read_id,
    crops: given.crops.map((crop) => ({ ...crop, index: crop.crop_index })),
    codes: given.codes,
    deadline_us: given.deadline_us,
    arrived_us: now_us(),
    answers, // crop index -> label
    isReopening: false, // undone here, which the console does not know yet
  };
}

// Decoded before it is shown: showing it then takes no time.
async function loadPicture(crop) {
  crop.images = { row: new Image(), large: new Image(), small: new Image() };
  await Promise.all(Object.values(crop.images).map((image) => {
    image.src = crop.picture;
    image.alt = "";
    image.draggable = false;
    return image.decode();
  }));
}

// Free the pictures.
export function dispose(letter) {
  for (const crop of letter.crops) {
    crop.picture = "";
    crop.images = null;
  }
  letter.cells = null;
}

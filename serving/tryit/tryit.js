// The try-it page: draw, choose, drop, paste or pick crops or a field; send them to /v1/explain; show why.
"use strict";

const SIDE = 28, MAX_CROPS = 12, PEN_PX = 22, PEN_UP_MS = 500, MAX_TRIES = 5, FIELD_ASPECT = 2;
const TYPES = ["image/png", "image/jpeg"];
const POSTCODE = ["2-01932.png", "8-07417.png", "1-04764.png", "9-04383.png", "5-01339.png"];
const FIELD = "28195.png";
const REASONS = {
  blank: () => "nothing in it stands out from the paper",
  not_a_digit: () => "it does not look like one digit",
  site_on_hold: () => "the site is on hold: its reads are not believed for now",
  no_code: (one) => one.detail || "it looks like more or fewer digits",
  code_rejected: () => "the code is not accepted",
  no_valid_code: () => "no valid postcode is likely enough",
  low_confidence: (one, limit) =>
    `its confidence, ${percent(one.confidence)}, is below the threshold, ${percent(limit)}`,
};
const at = (id) => document.getElementById(id);
let limits = { max_body_bytes: Infinity };
let running = new AbortController();

// ---- small helpers

function make(tag, properties = {}, ...children) {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...children.filter((one) => one !== null));
  return made;
}

function percent(part) { // with spaces that break no line
  if (part > 0.9999) return "over\u00a099.99%"; // 1 is rounded: no read is certain
  if (part < 0.0001 && part > 0) return "under\u00a00.01%";
  return `${(part * 100).toFixed(2)}%`;
}

function milliseconds(time) {
  return `${time < 10 ? time.toFixed(2) : Math.round(time)}\u00a0ms`;
}

function badge(kind, text) {
  return make("span", { className: `badge ${kind}` }, text);
}

function say(...content) {
  at("status").replaceChildren(make("p", {}, ...content));
}

function refuse(title, detail) {
  at("results").replaceChildren();
  at("curl").hidden = true;
  say(badge("act", title), ` ${detail}`);
}

function keyHeader() {
  const key = at("key").value.trim();
  return key ? { "x-api-key": key } : {};
}

const wait = (ms) => new Promise((done) => setTimeout(done, ms));

// ---- the key, and the model's limits

function askForKey(why) {
  at("key-form").hidden = false;
  at("key-why").textContent = why;
}

async function greet() {
  let reply;
  try {
    reply = await fetch("/v1/model", { headers: keyHeader() });
  } catch {
    refuse("No answer", "The service cannot be reached. Is it still running?");
    return;
  }
  const content = await reply.json();
  if (reply.ok) {
    limits = content.input_limits;
    at("model").textContent = `Model ${content.version} accepts a digit whose confidence is at least ` +
      `${percent(content.thresholds.confidence)}.`;
    at("key-why").textContent = "The key is in use until you leave the page.";
  } else if (reply.status === 401 || reply.status === 403) {
    askForKey(sentence(content.detail));
  } else {
    refuse(content.title, sentence(content.detail));
  }
}

function sentence(text) {
  return `${text[0].toUpperCase()}${text.slice(1)}.`;
}

// ---- crops, from wherever they come

function crop(name, type, bytes, origin) {
  let text = "";
  for (const byte of bytes) text += String.fromCharCode(byte);
  return { name, type, bytes, origin, url: `data:${type};base64,${btoa(text)}` };
}

function sample(name) {
  const image = document.querySelector(`[data-file="${name}"] img`);
  const bytes = Uint8Array.from(atob(image.src.split(",")[1]), (one) => one.charCodeAt(0));
  return crop(name, "image/png", bytes, "shipped");
}

async function readFiles(list, origin) {
  const files = [...list];
  if (origin === "file") files.sort((a, b) => a.name.localeCompare(b.name, "en", { numeric: true }));
  if (!files.length) return;
  if (files.length > MAX_CROPS) {
    refuse("Too many files", `These are ${files.length}; a postcode has at most ${MAX_CROPS} digits.`);
    return;
  }
  for (const { name, type, size } of files) {
    if (!TYPES.includes(type)) {
      refuse("Wrong type", `${name} is ${type || "of no known type"}; the service reads PNG and JPEG.`);
      return;
    }
    if (size > limits.max_body_bytes) {
      refuse("Too large", `${name} has ${size} bytes; at most ${limits.max_body_bytes} are taken. ` +
        "Cut it to one digit.");
      return;
    }
  }
  send(await Promise.all(files.map(async (file) => {
    const name = origin === "pasted" ? `pasted.${file.type.split("/")[1]}` : file.name;
    return crop(name, file.type, new Uint8Array(await file.arrayBuffer()), origin);
  })));
}

// ---- one request, again while the service is busy

async function send(crops) {
  running.abort();
  running = new AbortController();
  const { signal } = running;
  say("Reading …");
  const field = crops.length === 1 ? await fieldOf(crops[0]) : null;
  if (signal.aborted) return;
  for (let tries = 1; ; tries += 1) {
    const started = performance.now();
    let reply, content;
    try {
      reply = await fetch(`/v1/explain${field ? digitsQuery(crops[0]) : ""}`, { ...bodyOf(crops), method: "POST", signal });
      content = await reply.json();
    } catch (error) {
      if (error.name !== "AbortError") {
        refuse("No answer", "The service cannot be reached. Is it still running?");
      }
      return;
    }
    if (reply.ok) {
      show(crops, content, performance.now() - started, field);
      return;
    }
    const seconds = Number(reply.headers.get("retry-after"));
    if (!seconds || tries === MAX_TRIES) {
      if (reply.status === 401 || reply.status === 403) askForKey(sentence(content.detail));
      refuse(content.title, sentence(content.detail));
      return;
    }
    refuse(content.title, `${sentence(content.detail)} This page tries again in ${seconds} s.`);
    await wait(seconds * 1000);
    if (signal.aborted) return;
  }
}

function digitsQuery(one) {
  return `?digits=${one.name === FIELD ? "5" : encodeURIComponent(at("digits").value.trim())}`;
}

async function fieldOf(one) { // the picture, if it is a whole field and the browser can read it
  if (one.origin === "drawn") return null;
  const picture = make("img", { src: one.url });
  try {
    await picture.decode();
  } catch {
    return null; // the service says what is wrong with it
  }
  return picture.naturalWidth >= FIELD_ASPECT * picture.naturalHeight ? picture : null;
}

function bodyOf(crops) {
  if (crops.length === 1) {
    return { headers: { ...keyHeader(), "content-type": crops[0].type }, body: crops[0].bytes };
  }
  const body = new FormData();
  for (const one of crops) body.append("crop", new Blob([one.bytes], { type: one.type }), one.name);
  return { headers: keyHeader(), body };
}

// ---- the answer

function show(crops, answer, roundTripMs, field) {
  const { code, results, threshold } = answer;
  if (code) say(...verdict(code, code.code, threshold));
  else if (crops.length > 1) say(badge("act", "No postcode"), " One of the crops cannot be read.");
  else say(...verdict(results[0], results[0].digit, threshold));
  const sent = field ? results.map((one, place) => digitOf(field, one, place)) : crops;
  at("results").replaceChildren(
    ...(field ? [boxed(field, crops[0].name, code, results)] : []),
    ...results.map((one, place) => resultOf(one, sent[place], threshold, sent.length > 1)),
    make("p", { className: "small soft" },
      `Read and explained in ${milliseconds(answer.explain_ms)} by model ${answer.model_version}; ` +
      `the answer was here after ${milliseconds(roundTripMs)}. A scanner gets its answer without an explanation.`),
  );
  showCurl(crops, field);
  // Not while someone draws: the pad would move under the pen.
  if (crops[0].origin !== "drawn") at("answer").scrollIntoView({ block: "nearest" });
}

function cut(picture, { x, y, width, height }) {
  const canvas = make("canvas", { width, height });
  canvas.getContext("2d").drawImage(picture, x, y, width, height, 0, 0, width, height);
  return canvas;
}

function digitOf(field, { box }, place) {
  return { name: `Digit ${place + 1}`, url: cut(field, box).toDataURL(), text: "cut from the field" };
}

function boxed(field, name, code, results) { // the field with a box around each digit
  const { naturalWidth: width, naturalHeight: height } = field;
  const canvas = cut(field, { x: 0, y: 0, width, height }), pen = canvas.getContext("2d");
  Object.assign(pen, { strokeStyle: "#c2410c", lineWidth: Math.max(1, height / 60) });
  for (const { box } of results) pen.strokeRect(box.x, box.y, box.width, box.height);
  const read = code.code === null ? "no code" : `the code ${code.code}`;
  const picture = make("img", { src: canvas.toDataURL(), className: "field",
    alt: `The field ${name} with a box around each of ${results.length} digits: ${read}` });
  return make("figure", {}, picture, make("figcaption", {}, "the field as sent, and its digits"));
}

function verdict(one, value, threshold) {
  const read = make("b", { className: "read" }, value === null ? "–" : String(value));
  if (one.accepted) {
    return [read, " ", badge("calm", "accepted"), ` with a confidence of ${percent(one.confidence)}.`];
  }
  return [read, " ", badge("watch", "a person must read it"),
    ` Not accepted: ${REASONS[one.rejected_because](one, threshold)}.`];
}

function resultOf(one, sent, threshold, isOfMany) {
  const picture = make("img", { src: sent.url, alt: `The crop ${sent.name}` });
  const pictures = make("div", { className: "pictures" }, figure(picture, sent.text || "the crop as sent"));
  const box = make("article", { className: "result" });
  if (isOfMany) box.append(make("h3", {}, sent.name));
  box.append(pictures);
  if (one.error) {
    box.append(make("p", {}, badge("act", one.error.title), ` ${sentence(one.error.detail)}`));
    return box;
  }
  if (one.image) pictures.append(figure(paint(one.image, inkColour), "what the model saw"));
  if (one.image) {
    const looked = one.lost ? paint(one.image, lostColour(one.lost)) : make("span", {}, "no time");
    pictures.append(figure(looked, "what it looked at"));
  }
  const facts = make("p", { className: "small soft" }, factsOf(one));
  if (isOfMany) {
    box.append(make("p", {}, ...verdict(one, one.digit, threshold)),
      make("details", {}, make("summary", {}, "Candidates and times"), bars(one.candidates), facts));
  } else {
    box.append(bars(one.candidates), facts);
  }
  return box;
}

function figure(picture, text) {
  return make("figure", {}, make("div", { className: "crop" }, picture), make("figcaption", {}, text));
}

function bars(candidates) {
  if (!candidates.length) return "";
  const rows = candidates.map(({ digit, probability }) => {
    const bar = make("i");
    bar.style.width = `${probability * 100}%`;
    return make("tr", {}, make("th", { scope: "row" }, String(digit)),
      make("td", {}, make("div", { className: "bar", ariaHidden: "true" }, bar)),
      make("td", { className: "n" }, percent(probability)));
  });
  return make("table", { className: "candidates" },
    make("caption", { className: "small soft" }, "Candidates and their probabilities"),
    make("tbody", {}, ...rows));
}

function factsOf(one) {
  const { decode, preprocess, inference, decision } = one.stages_ms;
  const facts = [`Decoded in ${milliseconds(decode)}, framed in ${milliseconds(preprocess)}, ` +
    `inferred in ${milliseconds(inference)}, decided in ${milliseconds(decision)}.`];
  if (!one.framing) return facts[0];
  const { inverted, passed_through, num_dropped, edges_touched } = one.framing;
  if (inverted) facts.push("The ink is light on dark paper, so the crop was inverted.");
  if (passed_through) facts.push("The crop was framed already.");
  if (num_dropped) facts.push(`Pieces of ink taken for dirt, lines or neighbours: ${num_dropped}.`);
  if (edges_touched) facts.push("The ink touches the edge of the crop.");
  if (!one.lost) {
    return `${facts.join(" ")} There was no time to find out what the model looked at.`;
  }
  const most = Math.max(...one.lost.flat());
  facts.push(most < 0.02
    ? "No single patch of ink matters: without any one of them, the confidence is nearly the same."
    : "Orange ink carries the answer: without its most orange patch, the confidence is " +
      `${percent(one.confidence - most)}. Without blue ink, it is higher.`);
  return facts.join(" ");
}

// ---- pictures: the colours are those of model/explain.py

function inkColour(ink) {
  return [1 - ink, 1 - ink, 1 - ink];
}

function lostColour(lost) {
  const scale = Math.max(...lost.flat().map(Math.abs), 0.02);
  return (ink, row, column) => {
    const value = lost[row][column], strength = 0.8 * Math.min(1, Math.abs(value) / scale);
    const colour = value > 0 ? [0.85, 0.35, 0] : [0.1, 0.4, 0.9];
    return colour.map((part) => (1 - 0.45 * ink) * (1 - strength) + part * strength);
  };
}

function paint(image, colourOf) {
  const canvas = make("canvas", { width: SIDE, height: SIDE });
  const context = canvas.getContext("2d"), pixels = context.createImageData(SIDE, SIDE);
  image.flat().forEach((ink, place) => {
    const colour = colourOf(ink / 255, Math.floor(place / SIDE), place % SIDE);
    pixels.data.set([...colour.map((part) => Math.round(part * 255)), 255], place * 4);
  });
  context.putImageData(pixels, 0, 0);
  canvas.ariaHidden = "true"; // the caption and the facts below say it in words
  return canvas;
}

// ---- curl

function quoted(text) {
  return /^[\w./:@=-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`;
}

function fileOf(one) {
  if (one.origin !== "shipped") return one.name;
  return `tests/data/${one.name === FIELD ? "fields" : "crops"}/${one.name}`;
}

function showCurl(crops, field) {
  const key = keyHeader()["x-api-key"] ? ' -H "X-Api-Key: $KEY"' : "";
  const [first] = crops;
  const what = crops.length === 1
    ? `--data-binary ${quoted(`@${fileOf(first)}`)} -H 'content-type: ${first.type}'`
    : crops.map((one) => `-F ${quoted(`crop=@${formName(fileOf(one))}`)}`).join(" ");
  const path = field ? `/v1/field${digitsQuery(first)}` : crops.length === 1 ? "/v1/digit" : "/v1/postcode";
  at("curl-line").textContent = `curl -s ${what}${key} ${quoted(location.origin + path)}`;
  at("curl-note").textContent = {
    shipped: "Run it in the project's folder. Its read is recorded as mail is.",
    file: "Run it in the folder of the file. Its read is recorded as mail is.",
  }[first.origin] || "Save the crop, and run it in that folder. Its read is recorded as mail is.";
  const save = at("save");
  save.hidden = first.origin === "shipped" || first.origin === "file";
  Object.assign(save, { href: first.url, download: first.name });
  at("copy").hidden = !navigator.clipboard;
  at("curl").hidden = false;
}

function formName(name) {
  return /[;,"\\]/.test(name) ? `"${name.replace(/(["\\])/g, "\\$1")}"` : name;
}

// ---- drawing

const pad = at("pad"), pen = pad.getContext("2d", { willReadFrequently: true });
let isDrawing = false, lastPoint = null, penUp = 0;

function clearPad() {
  clearTimeout(penUp);
  pen.fillStyle = "#fff";
  pen.fillRect(0, 0, pad.width, pad.height);
}

function pointOf(event) {
  const box = pad.getBoundingClientRect(), scale = pad.width / pad.clientWidth;
  return [(event.clientX - box.left - pad.clientLeft) * scale,
    (event.clientY - box.top - pad.clientTop) * scale];
}

function lineTo(point) {
  Object.assign(pen, { lineWidth: PEN_PX, lineCap: "round", lineJoin: "round", strokeStyle: "#111" });
  pen.beginPath();
  pen.moveTo(...(lastPoint || point));
  pen.lineTo(...point);
  pen.stroke();
  lastPoint = point;
}

pad.addEventListener("pointerdown", (event) => {
  if (event.button || !event.isPrimary) return;
  clearTimeout(penUp);
  pad.setPointerCapture(event.pointerId);
  isDrawing = true;
  lastPoint = null;
  lineTo(pointOf(event));
});
pad.addEventListener("pointermove", (event) => {
  if (!isDrawing || !event.isPrimary) return;
  const events = event.getCoalescedEvents ? event.getCoalescedEvents() : [];
  for (const one of events.length ? events : [event]) lineTo(pointOf(one));
});
for (const name of ["pointerup", "pointercancel"]) {
  pad.addEventListener(name, () => {
    if (!isDrawing) return;
    isDrawing = false;
    penUp = setTimeout(sendDrawing, PEN_UP_MS);
  });
}

function sendDrawing() {
  pad.toBlob(async (blob) => {
    send([crop("drawn.png", "image/png", new Uint8Array(await blob.arrayBuffer()), "drawn")]);
  });
}

// ---- what else a person may do

at("clear").addEventListener("click", () => {
  running.abort();
  clearPad();
  at("results").replaceChildren();
  at("curl").hidden = true;
  say("The drawing area is empty.");
});
at("file").addEventListener("change", async (event) => {
  await readFiles(event.target.files, "file");
  event.target.value = ""; // the same file may be chosen again
});
document.querySelector(".try-sample").addEventListener("click", (event) => {
  const button = event.target.closest("[data-file]");
  if (button) send([sample(button.dataset.file)]);
});
at("postcode").addEventListener("click", () => send(POSTCODE.map(sample)));
at("copy").addEventListener("click", async () => {
  await navigator.clipboard.writeText(at("curl-line").textContent);
  at("curl-note").textContent = "Copied.";
});
at("key-form").addEventListener("submit", (event) => {
  event.preventDefault();
  greet();
});
document.addEventListener("dragover", (event) => event.preventDefault());
document.addEventListener("drop", (event) => {
  event.preventDefault();
  if (event.dataTransfer.files.length) readFiles(event.dataTransfer.files, "file");
  else refuse("No file", "What was dropped is no file.");
});
document.addEventListener("paste", (event) => {
  if (event.target.closest("input")) return; // a key
  if (event.clipboardData.files.length) readFiles(event.clipboardData.files, "pasted");
  else refuse("No image", "The clipboard has no image.");
});

clearPad();
greet();

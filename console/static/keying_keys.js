// What each key means, and what the directory of valid codes leaves open. Pure: no page, no network.

// Physical keys, so that a German or French keyboard has the same positions. Both rows run from
// left to right in the same order: the home row's key is below or beside its digit.
const ORDER = "1234567890";
const HOME_ROW = ["KeyA", "KeyS", "KeyD", "KeyF", "KeyG", "KeyH", "KeyJ", "KeyK", "KeyL", "Semicolon"];
const BY_CODE = new Map([
  ["KeyN", "not_a_digit"], ["KeyU", "unreadable"], ["KeyT", "two_digits"],
  ["NumpadDivide", "not_a_digit"], ["NumpadMultiply", "unreadable"], ["NumpadSubtract", "two_digits"],
  ["Backspace", "undo"], ["NumpadDecimal", "undo"], ["Escape", "pause"],
  ["Enter", "confirm"], ["NumpadEnter", "confirm"], ["Space", "confirm"],
]);
// What a screen keyboard or a remote control sends, which names no physical key.
const BY_KEY = new Map([
  ["n", "not_a_digit"], ["u", "unreadable"], ["t", "two_digits"],
  ["backspace", "undo"], ["escape", "pause"], ["enter", "confirm"], [" ", "confirm"],
]);
[...ORDER].forEach((digit, position) => {
  BY_CODE.set(HOME_ROW[position], digit);
  BY_CODE.set(`Digit${digit}`, digit);
  BY_CODE.set(`Numpad${digit}`, digit);
  BY_KEY.set("asdfghjkl;"[position], digit);
  BY_KEY.set(digit, digit);
});

const isShortcut = (event) => event.ctrlKey || event.altKey || event.metaKey || event.isComposing;

// Any key that writes something: all of them end a pause.
export const isCharacter = (event) => event.key.length === 1 && !isShortcut(event);

// A digit, not_a_digit, unreadable, two_digits, undo, confirm, pause; undefined for other keys.
export function meaning(event) {
  if (isShortcut(event)) return undefined;
  return event.code ? BY_CODE.get(event.code) : BY_KEY.get(event.key.toLowerCase());
}

export const isDigit = (label) => /^[0-9]$/.test(label ?? "");

// The crop that is to be keyed now; undefined when the letter is complete.
export function cropToKey(letter) {
  return letter.crops.find((crop) => crop.digit === null && !letter.answers.has(crop.index));
}

// Codes that agree with what is known of the letter; null where every digit is possible.
export function openCodes(letter) {
  const labels = letter.crops.map((crop) => crop.digit ?? letter.answers.get(crop.index));
  // A crop that is no digit, or two, was cut wrongly: a place in the code says nothing then.
  if (!letter.codes || labels.includes("not_a_digit") || labels.includes("two_digits")) return null;
  const open = letter.codes.filter((code) => code.length === labels.length
    && labels.every((label, place) => !isDigit(label) || label === code[place]));
  return open.length ? open : null;
}

// Digits that some valid code has in the place of this crop; null where every digit is possible.
export function openDigits(letter, crop) {
  const codes = openCodes(letter);
  if (!codes || !crop) return null;
  const place = letter.crops.indexOf(crop);
  return new Set(codes.map((code) => code[place]));
}

// The code, where only one is left; else null.
export function onlyCode(letter) {
  const codes = openCodes(letter);
  return codes?.length === 1 ? codes[0] : null;
}

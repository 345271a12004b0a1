// node main.mjs URL FILE prints the answer; client.js is compiled from client.ts.
import { readFile } from "node:fs/promises";
import { forPeople, readDigit } from "./out/client.js";

const [, , url, file] = process.argv;
const answer = await readDigit(url, new Uint8Array(await readFile(file)));
console.log(JSON.stringify({ ...answer, for_people: forPeople(answer) }));

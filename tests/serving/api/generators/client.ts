// Reads one crop with the types that openapi-typescript makes of the service's document.
import createClient from "openapi-fetch";
import type { components, paths } from "./schema.js";

type DigitAnswer = components["schemas"]["DigitAnswer"];

export async function readDigit(url: string, crop: Uint8Array<ArrayBuffer>): Promise<DigitAnswer> {
  const client = createClient<paths>({ baseUrl: url });
  const { data, error } = await client.POST("/v1/digit", {
    params: { query: { top_k: 2 }, header: { "X-Deadline-Ms": 150 } },
    body: "", // a file is a string in the types; the serializer gives the bytes
    bodySerializer: () => crop,
    headers: { "content-type": "image/png" },
  });
  if (error) throw new Error(`${error.status} ${error.detail}`);
  return data;
}

export function forPeople(answer: DigitAnswer): string {
  if (answer.accepted) return String(answer.digit);
  return `${answer.digit ?? "nothing"}: ${answer.rejected_because ?? "not accepted"}`;
}

// What the document does not have must not type-check: tsc fails where one of these lines does.
export async function mistakes(answer: DigitAnswer): Promise<void> {
  const client = createClient<paths>({ baseUrl: "" });
  // @ts-expect-error no such field
  answer.rejected_why;
  // @ts-expect-error no such path
  await client.GET("/v1/modell");
  // @ts-expect-error a number
  await client.POST("/v1/digit", { params: { query: { top_k: "two" } }, body: "" });
  // @ts-expect-error the digit may be null
  answer.digit.toFixed();
}

// Server-sent events from the body of an answer, for calls that an EventSource cannot make: it sends no headers of
// one's own. As much of the format (WHATWG HTML, 9.2) as the tracker speaks: names, data, comments.

/** Characters of one event: a list of peers has hundreds for each. */
const EVENT_CHARS_MAX = 16 << 20;

/**
 * @param {ReadableStream<Uint8Array>} body
 * @returns {AsyncGenerator<{ name: string, data: string }>} ends with the body; an event that it breaks off in is dropped
 */
export async function* eventsOf(body) {
  const decoder = new TextDecoder();
  let rest = "";
  let chars = 0;
  let name = "";
  /** @type {string[]} */
  let data = [];
  const reader = body.getReader();
  try {
    for (;;) {
      const { value, done } = await reader.read();
      if (done) return;
      // A carriage return at the end may be the first half of a line's end.
      const lines = (rest + decoder.decode(value, { stream: true })).split(/\r\n|\n|\r(?!$)/);
      rest = lines.pop() ?? "";
      for (const line of lines) {
        chars += line.length;
        const [field, text] = parse(line);
        if (field === "event") name = text;
        else if (field === "data") data.push(text);
        else if (line === "") {
          if (data.length > 0) yield { name, data: data.join("\n") };
          [name, data, chars] = ["", [], 0];
        }
      }
      if (chars + rest.length > EVENT_CHARS_MAX) throw new Error("an event without an end");
    }
  } finally {
    await reader.cancel().catch(() => {});
  }
}

/**
 * A line's field and what it says; one space after the colon belongs to neither.
 * @param {string} line
 * @returns {[string, string]}
 */
function parse(line) {
  const colon = line.indexOf(":");
  if (colon < 0) return [line, ""];
  return [line.slice(0, colon), line.slice(colon + 1).replace(/^ /, "")];
}

/**
 * JSON.parse that refuses an object with the same key twice (JSON.parse would keep the last one, silently).
 * @throws SyntaxError
 */
export function parseJsonStrict(text: string): unknown {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (e) {
    // Nesting that is too deep shows as a RangeError. The engine quotes the text, line ends too: one line is kept.
    throw new SyntaxError(
      e instanceof SyntaxError ? e.message.replace(/\s+/g, ' ') : 'nested too deeply',
    );
  }
  // The text is valid JSON from here on, so a string directly before a colon is a key of the innermost object.
  const open: (Set<string> | null)[] = [];
  for (let i = 0; i < text.length; i++) {
    const c = text.charCodeAt(i);
    if (c === 0x7b) open.push(new Set());
    else if (c === 0x5b) open.push(null);
    else if (c === 0x7d || c === 0x5d) open.pop();
    else if (c === 0x22) {
      const start = i++;
      for (; text.charCodeAt(i) !== 0x22; i++) if (text.charCodeAt(i) === 0x5c) i++;
      let after = i + 1;
      while (/\s/.test(text[after] ?? '')) after++;
      if (text[after] !== ':') continue;
      const key: string = JSON.parse(text.slice(start, i + 1));
      const keys = open[open.length - 1];
      if (keys?.has(key)) throw new SyntaxError(`the key ${JSON.stringify(key)} occurs twice`);
      keys?.add(key);
    }
  }
  return value;
}

export const isObject = (value: unknown): value is Record<string, unknown> =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

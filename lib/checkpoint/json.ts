/** Deeper than any real file; what goes through values afterwards may recurse. */
const DEEPEST = 256;
/** Keys of a checkpoint of 500,000 tensors; each costs some hundred bytes and microseconds. */
const MOST_KEYS = 2 ** 21;

/**
 * JSON.parse that refuses an object with the same key twice (JSON.parse would keep the last one, silently), and nesting
 * that is deeper than any real file's.
 * @throws SyntaxError
 */
export function parseJsonStrict(text: string): unknown {
  // Before it is parsed: a colon in a string counts too, but no file has nearly so many.
  let keys = 0;
  for (let i = text.indexOf(':'); i >= 0; i = text.indexOf(':', i + 1))
    if (++keys > MOST_KEYS) throw new SyntaxError(`more than ${MOST_KEYS} keys`);
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (e) {
    // The engine quotes the text, line ends too: one line is kept.
    throw new SyntaxError((e as Error).message.replace(/\s+/g, ' '));
  }
  // The text is valid JSON from here on, so a string directly before a colon is a key of the innermost object.
  const open: (Set<string> | null)[] = [];
  for (let i = 0; i < text.length; i++) {
    if (open.length > DEEPEST) throw new SyntaxError('nested too deeply');
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
      const names = open[open.length - 1];
      if (names?.has(key)) throw new SyntaxError(`the key ${JSON.stringify(key)} occurs twice`);
      names?.add(key);
    }
  }
  return value;
}

export const isObject = (value: unknown): value is Record<string, unknown> =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

/** A value in a message: so many characters of its JSON. */
export function showJson(value: unknown, length: number): string {
  try {
    return (JSON.stringify(value) ?? '').slice(0, length);
  } catch {
    return 'a value that is nested too deeply';
  }
}

/** Text that is HTML already. */
export class Html {
  constructor(readonly text: string) {}
  toString(): string {
    return this.text;
  }
}

const ESCAPES: Record<string, string> = {
  '&': '&amp;',
  '<': '&lt;',
  '>': '&gt;',
  '"': '&quot;',
  "'": '&#39;',
};

const escapeHtml = (text: string): string =>
  // Control characters have no place in a document either.
  text
    .replace(/\p{Cc}/gu, (c) => (/\s/.test(c) ? c : '\uFFFD'))
    .replace(/[&<>"']/g, (c) => ESCAPES[c] as string);

type Part = Html | string | number | false | null | undefined | readonly Part[];

const partText = (part: Part): string => {
  if (part instanceof Html) return part.text;
  if (Array.isArray(part)) return part.map(partText).join('');
  if (part === false || part === null || part === undefined) return '';
  return escapeHtml(String(part));
};

/** A template whose values are escaped, unless they are Html. */
export const html = (strings: TemplateStringsArray, ...parts: readonly Part[]): Html =>
  new Html(strings.reduce((text, s, i) => text + partText(parts[i - 1]) + s));

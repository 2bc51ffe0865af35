import { isObject } from '../../checkpoint/json.js';
import type { Normalise } from './normalisers.js';
import { endOf, startOf } from './spaces.js';
import type { Piece } from './splitters.js';

/** A token that is found in the text itself: a special one, or one that was added to a trained vocabulary. */
interface AddedToken {
  id: number;
  content: string;
  singleWord: boolean;
  lstrip: boolean;
  rstrip: boolean;
  /** Looked for in the normalised text. */
  normalised: boolean;
}

/** A piece that is still text, or a token that was found. */
export type Section = Piece | { id: number };

/** @throws Error where an entry is no token */
export function readAddedTokens(list: unknown): AddedToken[] {
  if (list === undefined || list === null) return [];
  if (!Array.isArray(list)) throw new Error('its added_tokens are no list');
  return list.map((t) => {
    if (!isObject(t) || typeof t.content !== 'string' || !isId(t.id))
      throw new Error('its added_tokens hold something that is no token');
    return {
      id: t.id,
      content: t.content,
      singleWord: t.single_word === true,
      lstrip: t.lstrip === true,
      rstrip: t.rstrip === true,
      normalised: typeof t.normalized === 'boolean' ? t.normalized : t.special !== true,
    };
  });
}

export const isId = (v: unknown): v is number =>
  Number.isInteger(v) && (v as number) >= 0 && (v as number) < 2 ** 31;

/** Takes the added tokens out of a text, then normalises the rest (huggingface/tokenizers `added_vocabulary.rs`). */
export class AddedTokens {
  private readonly raw: Finder | undefined;
  private readonly normalised: Finder | undefined;

  constructor(
    tokens: readonly AddedToken[],
    private readonly normalise: Normalise,
  ) {
    this.raw = finder(tokens.filter((t) => !t.normalised).map((t) => [t.content, t]));
    this.normalised = finder(
      tokens.filter((t) => t.normalised).map((t) => [normalise(t.content), t]),
    );
  }

  sections(text: string): Section[] {
    const pieces: Section[] = text === '' ? [] : [{ text, first: true }];
    const outside = this.raw ? pieces.flatMap(this.raw) : pieces;
    const normal = outside.flatMap((s): Section[] => {
      if ('id' in s) return [s];
      const t = this.normalise(s.text);
      return t === '' ? [] : [{ text: t, first: s.first }];
    });
    return this.normalised ? normal.flatMap(this.normalised) : normal;
  }
}

type Finder = (section: Section) => Section[];

const WORD_BEFORE = /[\p{Alphabetic}\p{M}\p{Nd}\p{Pc}\p{Join_Control}]$/u;
const WORD_AFTER = /^[\p{Alphabetic}\p{M}\p{Nd}\p{Pc}\p{Join_Control}]/u;

function finder(entries: readonly (readonly [string, AddedToken])[]): Finder | undefined {
  const byContent = new Map(entries.filter(([content]) => content !== ''));
  if (byContent.size === 0) return undefined;
  // The longest of those that begin at one place.
  const sorted = [...byContent.keys()].sort((a, b) => b.length - a.length);
  const pattern = new RegExp(
    sorted
      .map((c) => c.replace(/[.*+?^${}()|[\]\\/-]/g, (x) => `\\u{${x.charCodeAt(0).toString(16)}}`))
      .join('|'),
    'gu',
  );
  return (section) => {
    if ('id' in section) return [section];
    const { text, first } = section;
    const out: Section[] = [];
    let done = 0;
    for (const m of text.matchAll(pattern)) {
      const token = byContent.get(m[0]) as AddedToken;
      let from = m.index;
      let to = from + m[0].length;
      if (from < done) continue;
      if (
        token.singleWord &&
        (WORD_BEFORE.test(text.slice(0, from)) || WORD_AFTER.test(text.slice(to)))
      )
        continue;
      if (token.lstrip) from = Math.max(done, endOf(text.slice(0, from)));
      if (token.rstrip) to += startOf(text.slice(to));
      if (done < from) out.push({ text: text.slice(done, from), first: first && done === 0 });
      out.push({ id: token.id });
      done = to;
    }
    if (done < text.length) out.push({ text: text.slice(done), first: first && done === 0 });
    return out;
  };
}

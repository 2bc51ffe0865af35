import { SplitPreTokenizer } from '@huggingface/tokenizers';
import { isObject } from '../../checkpoint/json.js';
import { byteCharacters } from './bytes.js';

/** A stretch of a text. */
export interface Piece {
  text: string;
  /** Whether the whole text begins with it. */
  first: boolean;
}

export type Split = (piece: Piece) => Piece[];

/** What becomes of the matches of a pattern (tokenizers `SplitDelimiterBehavior`). */
type Behaviour = 'Isolated' | 'Removed' | 'MergedWithPrevious' | 'MergedWithNext' | 'Contiguous';

/** GPT-2's pattern; spaces are Unicode's. */
const WORDS =
  /'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\p{White_Space}\p{L}\p{N}]+|\p{White_Space}+(?!\P{White_Space})|\p{White_Space}+/gu;
const WORD = '\\p{Alphabetic}\\p{M}\\p{Nd}\\p{Pc}\\p{Join_Control}';
const PUNCTUATION = /[!-/:-@[-`{-~\p{P}]/gu;

/**
 * How a tokenizer.json says that texts are cut into words before its model sees them. Regular expressions are translated
 * by the library; the rest is written here after huggingface/tokenizers `src/pre_tokenizers`, since the library knows
 * only ASCII words and digits and not all behaviours.
 * @throws Error for a step that is not known
 */
export function splitter(config: unknown): Split {
  if (config === null || config === undefined) return (piece) => [piece];
  if (!isObject(config)) throw new Error('its pre_tokenizer is no object');
  const c = config as Record<string, unknown>;
  switch (c.type) {
    case 'Sequence': {
      const steps = (Array.isArray(c.pretokenizers) ? c.pretokenizers : []).map(splitter);
      return (piece) => steps.reduce((pieces, step) => pieces.flatMap(step), [piece]);
    }
    case 'BertPreTokenizer': {
      const words = by(/\p{White_Space}/gu, 'Removed');
      const marks = by(PUNCTUATION, 'Isolated');
      return (piece) => words(piece).flatMap(marks);
    }
    case 'Whitespace':
      return by(new RegExp(`[${WORD}]+|[^${WORD}\\p{White_Space}]+`, 'gu'), 'Removed', true);
    case 'WhitespaceSplit':
      return by(/\p{White_Space}/gu, 'Removed');
    case 'CharDelimiterSplit':
      return by(literal(c.delimiter), 'Removed');
    case 'Punctuation':
      return by(PUNCTUATION, behaviourOf(c.behavior ?? 'Isolated'));
    case 'Digits':
      return by(/\p{N}/gu, c.individual_digits === true ? 'Isolated' : 'Contiguous');
    case 'Split':
      return by(patternOf(c), behaviourOf(c.behavior), c.invert === true);
    case 'Metaspace':
      return metaspace(c);
    case 'ByteLevel':
      return byteLevel(c);
    default:
      throw new Error(`its pre_tokenizer has a step of the type ${JSON.stringify(c.type)}`);
  }
}

const BEHAVIOURS = ['Isolated', 'Removed', 'MergedWithPrevious', 'MergedWithNext', 'Contiguous'];

function behaviourOf(value: unknown): Behaviour {
  if (BEHAVIOURS.includes(value as string)) return value as Behaviour;
  throw new Error(`its pre_tokenizer has the behavior ${JSON.stringify(value)}`);
}

function literal(text: unknown): RegExp {
  if (typeof text !== 'string' || text === '')
    throw new Error('its pre_tokenizer has no pattern to split at');
  return new RegExp(text.replace(/[.*+?^${}()|[\]\\]/g, '\\$&'), 'gu');
}

function patternOf(c: Record<string, unknown>): RegExp {
  const pattern = c.pattern;
  if (isObject(pattern) && typeof pattern.String === 'string') return literal(pattern.String);
  if (!isObject(pattern) || typeof pattern.Regex !== 'string')
    throw new Error('its pre_tokenizer has no pattern to split at');
  const made = new SplitPreTokenizer(c as never) as unknown as { pattern: RegExp };
  return made.pattern;
}

/** Splits at the matches of a pattern (`NormalizedString::split`); `invert` takes what lies between for the matches. */
function by(pattern: RegExp, behaviour: Behaviour, invert = false): Split {
  return ({ text, first }) => {
    const spans = spansOf(text, pattern, invert);
    return merged(spans, behaviour).flatMap(([from, to]) =>
      from === to ? [] : [{ text: text.slice(from, to), first: first && from === 0 }],
    );
  };
}

type Span = [from: number, to: number, match: boolean];

function spansOf(text: string, pattern: RegExp, invert: boolean): Span[] {
  const spans: Span[] = [];
  let end = 0;
  for (const m of text.matchAll(pattern)) {
    if (m[0] === '') continue;
    if (m.index > end) spans.push([end, m.index, invert]);
    end = m.index + m[0].length;
    spans.push([m.index, end, !invert]);
  }
  if (end < text.length) spans.push([end, text.length, invert]);
  return spans;
}

function merged(spans: Span[], behaviour: Behaviour): Span[] {
  switch (behaviour) {
    case 'Isolated':
      return spans;
    case 'Removed':
      return spans.filter(([, , match]) => !match);
    case 'MergedWithNext':
      return joined(spans.toReversed(), (match, before) => match && !before).toReversed();
    case 'MergedWithPrevious':
      return joined(spans, (match, before) => match && !before);
    case 'Contiguous':
      return joined(spans, (match, before) => match === before);
  }
}

/** Joins a span with the one that came before it where `join` says so of the two. */
function joined(spans: Span[], join: (match: boolean, before: boolean) => boolean): Span[] {
  const out: Span[] = [];
  let before = false;
  for (const [from, to, match] of spans) {
    const last = out.at(-1);
    if (last && join(match, before)) {
      last[0] = Math.min(last[0], from);
      last[1] = Math.max(last[1], to);
    } else out.push([from, to, match]);
    before = match;
  }
  return out;
}

/** SentencePiece's way: spaces become a visible character that begins words (`pre_tokenizers/metaspace.rs`). */
function metaspace(c: Record<string, unknown>): Split {
  const mark = typeof c.replacement === 'string' && c.replacement !== '' ? c.replacement : '\u2581';
  const scheme = c.prepend_scheme ?? (c.add_prefix_space === false ? 'never' : 'always');
  if (scheme !== 'always' && scheme !== 'first' && scheme !== 'never')
    throw new Error(`its pre_tokenizer has the prepend_scheme ${JSON.stringify(scheme)}`);
  const words = by(literal(mark), 'MergedWithNext');
  return ({ text, first }) => {
    let t = text.replaceAll(' ', mark);
    if (!t.startsWith(mark) && (scheme === 'always' || (scheme === 'first' && first))) t = mark + t;
    const piece = { text: t, first };
    return c.split === false ? [piece] : words(piece);
  };
}

function byteLevel(c: Record<string, unknown>): Split {
  const words = by(WORDS, 'Isolated');
  return (piece) => {
    const spaced = c.add_prefix_space === true && !piece.text.startsWith(' ');
    const whole = spaced ? { ...piece, text: ` ${piece.text}` } : piece;
    const pieces = c.use_regex === false ? [whole] : words(whole);
    return pieces.map((p) => ({ ...p, text: byteCharacters(p.text) }));
  };
}

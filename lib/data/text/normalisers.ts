import {
  NFCNormalizer,
  NFDNormalizer,
  NFKCNormalizer,
  NFKDNormalizer,
  ReplaceNormalizer,
} from '@huggingface/tokenizers';
import { isObject } from '../../checkpoint/json.js';
import { byteCharacters } from './bytes.js';
import { Charsmap } from './charsmap.js';
import { endOf, startOf } from './spaces.js';

export type Normalise = (text: string) => string;

/**
 * The normaliser that a tokenizer.json describes. Replacing by regular expressions is the library's; the steps in which
 * the library differs from the Python one (case, accents, ideographs beyond 16 bits, spaces, SentencePiece's tables) are
 * written here after huggingface/tokenizers `src/normalizers`.
 * @throws Error for a step that is not known
 */
export function normaliser(config: unknown): Normalise {
  if (config === null || config === undefined) return (text) => text;
  if (!isObject(config)) throw new Error('its normalizer is no object');
  const c = config as Record<string, unknown>;
  switch (c.type) {
    case 'Sequence': {
      const steps = (Array.isArray(c.normalizers) ? c.normalizers : []).map(normaliser);
      return (text) => steps.reduce((t, step) => step(t), text);
    }
    case 'BertNormalizer':
      return bert(c);
    case 'Precompiled': {
      if (typeof c.precompiled_charsmap !== 'string' || c.precompiled_charsmap === '')
        return (text) => text;
      const map = new Charsmap(c.precompiled_charsmap);
      return (text) => map.apply(text);
    }
    case 'NFC':
      return made(new NFCNormalizer(c as never));
    case 'NFD':
      return made(new NFDNormalizer(c as never));
    case 'NFKC':
      return made(new NFKCNormalizer(c as never));
    case 'NFKD':
      return made(new NFKDNormalizer(c as never));
    case 'Replace':
      return made(new ReplaceNormalizer(c as never));
    case 'Lowercase':
      return lowercase;
    case 'StripAccents':
      return (text) => text.replace(/\p{M}/gu, '');
    case 'Strip':
      return (text) =>
        text.slice(
          c.strip_left === true ? startOf(text) : 0,
          c.strip_right === true ? endOf(text) : undefined,
        );
    case 'Prepend':
      return (text) => (text === '' ? text : `${c.prepend}${text}`);
    case 'Nmt':
      return nmt;
    case 'ByteLevel':
      return byteCharacters;
    default:
      throw new Error(`its normalizer has a step of the type ${JSON.stringify(c.type)}`);
  }
}

const made =
  (n: { normalize(text: string): string }): Normalise =>
  (text) =>
    n.normalize(text);

/** Each character by itself: a sigma at the end of a word is as any other. */
function lowercase(text: string): string {
  if (/^\p{ASCII}*$/u.test(text)) return text.toLowerCase();
  let out = '';
  for (const c of text) out += c.toLowerCase();
  return out;
}

/** Ideographs as BERT's own code counts them. */
const IDEOGRAPH =
  /[\u4e00-\u9fff\u3400-\u4dbf\u{20000}-\u{2a6df}\u{2a700}-\u{2b73f}\u{2b740}-\u{2b81f}\u{2b920}-\u{2ceaf}\uf900-\ufaff\u{2f800}-\u{2fa1f}]/gu;

/** `src/normalizers/bert.rs`; strip_accents that is null is as lowercase. */
function bert(c: Record<string, unknown>): Normalise {
  const lower = c.lowercase !== false;
  const strip = typeof c.strip_accents === 'boolean' ? c.strip_accents : lower;
  return (text) => {
    let t = text;
    if (c.clean_text !== false)
      t = t
        .replace(/[\ufffd]|(?![\t\n\r])[\p{Cc}\p{Cf}\p{Co}\p{Cs}]/gu, '')
        .replace(/\p{White_Space}/gu, ' ');
    if (c.handle_chinese_chars !== false) t = t.replace(IDEOGRAPH, ' $& ');
    if (strip) t = t.normalize('NFD').replace(/\p{Mn}/gu, '');
    return lower ? lowercase(t) : t;
  };
}

/** `src/normalizers/unicode.rs`. */
const nmt: Normalise = (text) =>
  text
    // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is removed
    .replace(/[\x01-\x08\x0b\x0e-\x1f\x7f\x8f\x9f]/g, '')
    .replace(/[\t\n\f\r\u1680\u200b-\u200f\u2028\u2029\u2581\ufeff\ufffd]/g, ' ');

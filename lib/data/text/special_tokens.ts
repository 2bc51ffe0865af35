import { isObject } from '../../checkpoint/json.js';
import { isId } from './added_tokens.js';

/** A text or a pair as a network takes it. */
export interface Encoded {
  ids: number[];
  /** 0 for the first text, 1 for the second, as the tokenizer has them. */
  types: number[];
}

/** A tokenized text, or two. */
export type Texts = readonly [number[]] | readonly [number[], number[]];

/** Puts special tokens round texts. */
export interface SpecialTokens {
  /** How many are added to one text, and to two. */
  added: readonly [number, number];
  apply(texts: Texts): Encoded;
}

/** A special token, or the place of a text (0, 1). */
type Slot = { type: number } & ({ ids: readonly number[] } | { text: 0 | 1 });
type Template = readonly Slot[];

const text = (which: 0 | 1, type: number): Slot => ({ text: which, type });
const token = (id: number, type: number): Slot => ({ ids: [id], type });

/**
 * What a tokenizer.json's post_processor does (huggingface/tokenizers `src/processors`), as one template for a text and
 * one for a pair.
 * @throws Error for one that is not known, or is damaged
 */
export function specialTokens(config: unknown): SpecialTokens {
  const [single, pair] = templatesOf(config) ?? [[text(0, 0)], [text(0, 0), text(1, 1)]];
  const count = (t: Template) =>
    t.reduce((n, slot) => n + ('ids' in slot ? slot.ids.length : 0), 0);
  return {
    added: [count(single), count(pair)],
    apply: (texts) => fill(texts.length === 1 ? single : pair, texts),
  };
}

function fill(template: Template, texts: Texts): Encoded {
  const ids: number[] = [];
  const types: number[] = [];
  for (const slot of template) {
    const from = 'ids' in slot ? slot.ids : (texts[slot.text] ?? []);
    for (const id of from) {
      ids.push(id);
      types.push(slot.type);
    }
  }
  return { ids, types };
}

function templatesOf(config: unknown): readonly [Template, Template] | null {
  if (config === null || config === undefined) return null;
  if (!isObject(config)) throw new Error('its post_processor is no object');
  const c = config as Record<string, unknown>;
  switch (c.type) {
    case 'ByteLevel': // changes offsets only
      return null;
    case 'Sequence': {
      const made = (Array.isArray(c.processors) ? c.processors : [])
        .map(templatesOf)
        .filter((t) => t !== null);
      if (made.length > 1) throw new Error('its post_processor adds special tokens twice');
      return made[0] ?? null;
    }
    case 'BertProcessing': {
      const [cls, sep] = [idOf(c.cls), idOf(c.sep)];
      const single = [token(cls, 0), text(0, 0), token(sep, 0)];
      return [single, [...single, text(1, 1), token(sep, 1)]];
    }
    case 'RobertaProcessing': {
      const [cls, sep] = [idOf(c.cls), idOf(c.sep)];
      const single = [token(cls, 0), text(0, 0), token(sep, 0)];
      return [single, [...single, token(sep, 0), text(1, 0), token(sep, 0)]];
    }
    case 'TemplateProcessing':
      return [template(c.single, c.special_tokens), template(c.pair, c.special_tokens)];
    default:
      throw new Error(`its post_processor is of the type ${JSON.stringify(c.type)}`);
  }
}

/** ["[SEP]", 102] */
function idOf(value: unknown): number {
  const id = Array.isArray(value) ? value[1] : undefined;
  if (!isId(id)) throw new Error('its post_processor names a special token without an id');
  return id;
}

function template(slots: unknown, specials: unknown): Template {
  const damaged = new Error('its post_processor has a damaged template');
  if (!Array.isArray(slots)) throw damaged;
  return slots.map((slot): Slot => {
    const sequence = isObject(slot) ? slot.Sequence : undefined;
    const special = isObject(slot) ? slot.SpecialToken : undefined;
    const of = isObject(sequence) ? sequence : isObject(special) ? special : undefined;
    if (of === undefined || !isId(of.type_id)) throw damaged;
    if (of === sequence) return text(of.id === 'A' ? 0 : 1, of.type_id);
    const named =
      isObject(specials) && typeof of.id === 'string' && Object.hasOwn(specials, of.id)
        ? specials[of.id]
        : undefined;
    if (!isObject(named) || !Array.isArray(named.ids) || !named.ids.every(isId)) throw damaged;
    return { ids: named.ids, type: of.type_id };
  });
}

/**
 * How much of each text is kept where all must fit into `room` tokens: "longest first" as huggingface/tokenizers has it
 * (`src/utils/truncation.rs`), the end cut off.
 */
export function fitted(lengths: readonly number[], room: number): number[] {
  const [a = 0, b] = lengths;
  if (b === undefined) return [Math.min(a, room)];
  if (a + b <= room) return [a, b];
  const short = Math.min(a, b);
  const rest = short > room ? short : Math.max(short, room - short);
  const half = Math.floor(room / 2);
  const [less, more] = short + rest > room ? [half, half + (room % 2)] : [short, rest];
  return a > b ? [Math.min(a, more), Math.min(b, less)] : [Math.min(a, less), Math.min(b, more)];
}

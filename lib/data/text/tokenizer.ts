import { toUSVString } from 'node:util';
import { BPE, Unigram, WordPiece } from '@huggingface/tokenizers';
import { isObject, parseJsonStrict } from '../../checkpoint/json.js';
import { readSmallFile } from '../../checkpoint/small_file.js';
import { StockpotError } from '../../errors.js';
import { AddedTokens, isId, readAddedTokens } from './added_tokens.js';
import { normaliser } from './normalisers.js';
import { type Encoded, fitted, type SpecialTokens, specialTokens } from './special_tokens.js';
import { type Split, splitter } from './splitters.js';

export type { Encoded } from './special_tokens.js';

/** A word's tokens; the models of @huggingface/tokenizers. */
type Model = (words: string[]) => string[];

/** Words whose tokens are remembered: most words of a text have been seen before. */
const REMEMBERED = 50_000;
const LONGEST_REMEMBERED = 64;

/**
 * A tokenizer.json. Its ids are those of the Python library (huggingface/tokenizers), which test/data/tokenizer.test.ts
 * holds it to: words become tokens by the models of @huggingface/tokenizers, while the steps before and after are in this
 * folder.
 */
export class TextTokenizer {
  private readonly known = new Map<string, readonly number[]>();

  private constructor(
    readonly file: string,
    private readonly added: AddedTokens,
    private readonly split: Split,
    private readonly model: Model,
    private readonly idOf: (token: string) => number | undefined,
    private readonly special: SpecialTokens,
    /** What stands where an example has no token; its value does not matter, as it is masked. */
    readonly padding: number,
  ) {}

  /** @throws StockpotError NOT_FOUND, IO, FORMAT; UNSUPPORTED where it has a step that is not known */
  static async read(file: string): Promise<TextTokenizer> {
    const text = await readSmallFile(file);
    let json: unknown;
    try {
      json = parseJsonStrict(text);
    } catch (e) {
      throw refused(file, `is not valid JSON: ${(e as Error).message}`, 'FORMAT');
    }
    if (!isObject(json) || !isObject(json.model))
      throw refused(file, 'expected a tokenizer.json with a model', 'FORMAT');
    try {
      const normalise = normaliser(json.normalizer);
      const tokens = readAddedTokens(json.added_tokens);
      const { model, idOf } = readModel(json.model);
      for (const t of tokens) if (t.normalised) normalise(t.content);
      const pad = isObject(json.padding) ? json.padding.pad_id : undefined;
      const named = tokens.find((t) => t.content === '[PAD]' || t.content === '<pad>')?.id;
      return new TextTokenizer(
        file,
        new AddedTokens(tokens, normalise),
        splitter(json.pre_tokenizer),
        model,
        idOf,
        specialTokens(json.post_processor),
        isId(pad) ? pad : (named ?? 0),
      );
    } catch (cause) {
      throw refused(file, (cause as Error).message, 'UNSUPPORTED', cause);
    }
  }

  /**
   * Ids and token types with special tokens, cut to `limit` tokens from the end of the longer text.
   * @param pair the second text; an empty one is not none
   * @throws Error that says why this text cannot be tokenized, without the file's name
   */
  encode(
    text: string,
    pair?: string,
    limit = Number.POSITIVE_INFINITY,
  ): Encoded & { cut: boolean } {
    const texts = (pair === undefined ? [text] : [text, pair]).map((t) => this.tokens(t));
    const lengths = texts.map((t) => t.length);
    const room = Math.max(0, limit - (this.special.added[texts.length - 1] as number));
    const kept = fitted(lengths, room);
    const cut = kept.some((n, i) => n < (lengths[i] as number));
    const made = texts.map((t, i) => (cut ? t.slice(0, kept[i]) : t));
    return { ...this.special.apply(made as [number[]] | [number[], number[]]), cut };
  }

  private tokens(text: string): number[] {
    const out: number[] = [];
    // A half of a surrogate pair is what a byte that is no UTF-8 becomes.
    for (const section of this.added.sections(toUSVString(text))) {
      if ('id' in section) out.push(section.id);
      else
        for (const piece of this.split(section))
          for (const id of this.word(piece.text)) out.push(id);
    }
    return out;
  }

  private word(word: string): readonly number[] {
    const before = this.known.get(word);
    if (before) return before;
    let tokens: string[];
    try {
      tokens = this.model([word]);
    } catch (cause) {
      if (!(cause instanceof RangeError)) throw cause;
      throw new Error(`has a word of ${word.length} characters, which is too long to tokenize`);
    }
    const ids: number[] = [];
    for (const t of tokens) {
      const id = this.idOf(t);
      if (id !== undefined) ids.push(id);
    }
    if (word.length <= LONGEST_REMEMBERED && this.known.size < REMEMBERED)
      this.known.set(word, ids);
    return ids;
  }
}

/** @throws Error where the model is none that is known, or its vocabulary is damaged */
function readModel(config: Record<string, unknown>): {
  model: Model;
  idOf: (token: string) => number | undefined;
} {
  const type =
    config.type ??
    (Array.isArray(config.vocab) ? 'Unigram' : 'merges' in config ? 'BPE' : 'WordPiece');
  if (type === 'Unigram') return unigram(config);
  if (type !== 'WordPiece' && type !== 'BPE')
    throw new Error(
      `its model is of the type ${JSON.stringify(type)}, expected WordPiece, Unigram or BPE`,
    );
  if (!isObject(config.vocab) || !Object.values(config.vocab).every(isId))
    throw new Error('its vocabulary is damaged: expected an id for each token');
  if (type === 'WordPiece') {
    if (typeof config.unk_token !== 'string' || !Object.hasOwn(config.vocab, config.unk_token))
      throw new Error('its vocabulary lacks the token for unknown words');
    return looked(
      new WordPiece({
        ...config,
        continuing_subword_prefix: config.continuing_subword_prefix ?? '##',
      } as never),
    );
  }
  if (config.continuing_subword_prefix)
    throw new Error('its model has a continuing_subword_prefix');
  if (!Array.isArray(config.merges) || !config.merges.every(isMerge))
    throw new Error('its merges are damaged');
  return looked(new BPE(config as never));
}

const isMerge = (m: unknown): boolean =>
  typeof m === 'string' ||
  (Array.isArray(m) && m.length === 2 && m.every((x) => typeof x === 'string'));

function unigram(config: Record<string, unknown>) {
  const { vocab, unk_id } = config;
  const isEntry = (e: unknown) =>
    Array.isArray(e) && typeof e[0] === 'string' && Number.isFinite(e[1]);
  if (!Array.isArray(vocab) || vocab.length === 0 || !vocab.every(isEntry))
    throw new Error('its vocabulary is damaged: expected a score for each token');
  if (!isId(unk_id) || unk_id >= vocab.length)
    throw new Error('its vocabulary lacks the token for unknown characters');
  if (config.byte_fallback === true) throw new Error('its model has byte_fallback');
  return looked(new Unigram(config as never, ''));
}

function looked(model: WordPiece | BPE | Unigram) {
  const { tokens_to_ids, unk_token_id } = model as unknown as {
    tokens_to_ids: Map<string, number>;
    unk_token_id: number | undefined;
  };
  return {
    model: model as unknown as Model,
    idOf: (token: string) => tokens_to_ids.get(token) ?? unk_token_id,
  };
}

const refused = (file: string, why: string, code: 'FORMAT' | 'UNSUPPORTED', cause?: unknown) =>
  new StockpotError(
    code,
    `${file}: ${code === 'FORMAT' ? why : `is no tokenizer that stockpot runs: ${why}`}`,
    {
      file,
      cause,
      remedy:
        'Save the tokenizer with transformers (AutoTokenizer … save_pretrained), or tokenize the texts in Python and give a .safetensors file of input_ids.',
    },
  );

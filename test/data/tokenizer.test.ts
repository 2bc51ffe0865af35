import { createHash } from 'node:crypto';
import { writeFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { fitted } from '../../lib/data/text/special_tokens.js';
import { TextTokenizer } from '../../lib/data/text/tokenizer.js';
import { json, tokenizerJson, unpacked } from '../fixtures/text/read.js';
import { failure } from '../helpers/errors.js';
import { useFolder } from '../helpers/folder.js';

const at = useFolder();
const { texts, pairs, sweep } = json('cases.json');
const expected = JSON.parse(unpacked('ids.json.gz'));

async function open(content: string): Promise<TextTokenizer> {
  const file = at('tokenizer.json');
  writeFileSync(file, content);
  return TextTokenizer.read(file);
}

const shown = ({ ids, types }: { ids: number[]; types: number[] }) => [ids, types];

describe.each(Object.keys(expected))('the tokenizer %s gives the Python library’s ids', (name) => {
  const wanted = expected[name];

  it('of texts and pairs', async () => {
    const t = await open(tokenizerJson(name));
    for (const [i, text] of texts.entries())
      expect(shown(t.encode(text)), JSON.stringify(text)).toEqual(wanted.texts[i]);
    for (const [i, [a, b]] of pairs.entries())
      expect(shown(t.encode(a, b)), JSON.stringify([a, b])).toEqual(wanted.pairs[i]);
  });

  it('of texts and pairs that are cut', async () => {
    const t = await open(tokenizerJson(name));
    for (const [limit, cut] of Object.entries<{ texts: unknown[]; pairs: unknown[] }>(wanted.cut)) {
      for (const [i, text] of texts.entries())
        expect(shown(t.encode(text, undefined, Number(limit)))).toEqual(cut.texts[i]);
      for (const [i, [a, b]] of pairs.entries())
        expect(shown(t.encode(a, b, Number(limit)))).toEqual(cut.pairs[i]);
    }
  });

  it('of all characters of many scripts', async () => {
    const t = await open(tokenizerJson(name));
    const rows = (sweep as [number, number][]).flatMap(([first, last]) =>
      Array.from({ length: Math.ceil((last + 1 - first) / 16) }, (_, i) => first + 16 * i),
    );
    const found = rows.map((row) => {
      const characters = Array.from({ length: 16 }, (_, i) => String.fromCodePoint(row + i));
      const text = characters.map((c) => `a${c}b ${c}`).join(' ');
      const { ids } = t.encode(text);
      return createHash('sha256').update(JSON.stringify(ids)).digest('hex').slice(0, 8);
    });
    const digests = wanted.sweep.match(/.{8}/g);
    const different = rows.filter((_, i) => found[i] !== digests[i]).map((r) => r.toString(16));
    expect(found.length).toBe(digests.length);
    expect(different).toEqual([]);
  });
});

describe('a pair is cut as the Python library does it', () => {
  it.each([
    [[3, 4], 7, [3, 4]],
    [[3, 9], 7, [3, 4]],
    [[9, 3], 7, [4, 3]],
    [[9, 9], 7, [3, 4]],
    [[10, 9], 7, [4, 3]],
    [[0, 9], 7, [0, 7]],
    [[9, 9], 0, [0, 0]],
    [[9], 7, [7]],
  ])('%j into %i tokens', (lengths, room, kept) => {
    expect(fitted(lengths, room)).toEqual(kept);
  });
});

describe('a tokenizer that cannot be used is refused', () => {
  const base = () => JSON.parse(tokenizerJson('wordpiece'));
  const cases: [string, (j: ReturnType<typeof base>) => unknown, RegExp][] = [
    ['no JSON', () => '{"model": ', /is not valid JSON/],
    ['no model', (j) => ({ ...j, model: undefined }), /expected a tokenizer\.json with a model/],
    [
      'another model',
      (j) => ({ ...j, model: { type: 'Other', vocab: {} } }),
      /of the type "Other"/,
    ],
    [
      'an id that is none',
      (j) => ({ ...j, model: { ...j.model, vocab: { a: -1, '[UNK]': 0 } } }),
      /vocabulary is damaged/,
    ],
    [
      'no token for unknown words',
      (j) => ({ ...j, model: { ...j.model, unk_token: 'x' } }),
      /token for unknown words/,
    ],
    ['an unknown normaliser', (j) => ({ ...j, normalizer: { type: 'Magic' } }), /"Magic"/],
    ['an unknown splitter', (j) => ({ ...j, pre_tokenizer: { type: 'Magic' } }), /"Magic"/],
    ['an unknown post-processor', (j) => ({ ...j, post_processor: { type: 'Magic' } }), /"Magic"/],
    [
      'a template that names nothing',
      (j) => ({ ...j, post_processor: { ...j.post_processor, special_tokens: {} } }),
      /damaged template/,
    ],
    [
      'a damaged table',
      (j) => ({ ...j, normalizer: { type: 'Precompiled', precompiled_charsmap: 'AAAA' } }),
      /charsmap is damaged/,
    ],
    [
      'a damaged pattern',
      (j) => ({
        ...j,
        pre_tokenizer: { type: 'Split', pattern: { Regex: '(' }, behavior: 'Isolated' },
      }),
      /is no tokenizer that stockpot runs/,
    ],
    ['added tokens that are none', (j) => ({ ...j, added_tokens: [1] }), /added_tokens/],
  ];
  it.each(cases)('%s', async (_, change, message) => {
    const changed = change(base());
    const content = typeof changed === 'string' ? changed : JSON.stringify(changed);
    const format = message.source.includes('JSON') || message.source.startsWith('expected');
    const e = await failure(open(content), format ? 'FORMAT' : 'UNSUPPORTED');
    expect(e.message).toMatch(message);
    expect(e.file).toBe(at('tokenizer.json'));
    expect(e.remedy).toMatch(/tokenizer|safetensors/);
  });
});

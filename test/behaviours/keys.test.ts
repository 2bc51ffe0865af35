import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { contentHash, diff, inspect, openCheckpoint, uniform, verify } from '../../lib/index.js';
import { failure } from '../helpers/errors.js';
import { useFolder } from '../helpers/folder.js';
import { asObject, numbers, putTensors, readBack, tensor } from '../helpers/safetensors.js';

const at = useFolder();
const fixture = (name: string) => join(import.meta.dirname, '../fixtures/pytorch', name);
const f32 = (name: string, ...values: number[]) => tensor(name, 'F32', [values.length], values);

/** Files of a folder of its own, one for each list of tensors. */
let sets = 0;
async function files(...lists: ReturnType<typeof tensor>[][]): Promise<string[]> {
  const set = `set ${sets++}`;
  return Promise.all(lists.map((list, i) => putTensors(at(set, `${i}.safetensors`), list)));
}
const soupPath = () => at(`soup ${sets++}.safetensors`);

async function soup(ingredients: string[], options: Parameters<typeof uniform>[2] = {}) {
  const out = soupPath();
  const made = await uniform(ingredients, out, options);
  return { ...made, file: await readBack(out) };
}

describe('behaviour 9: keys and shapes that do not fit', () => {
  it('behaviour 9: missing, extra and misshapen tensors are all listed', async () => {
    const [a, b, c] = (await files(
      [f32('x', 1), f32('y', 1), f32('z', 1, 2)],
      [f32('y', 2), f32('z', 3), f32('extra', 5)],
      [f32('x', 1), f32('z', 3, 4)],
    )) as [string, string, string];
    const error = await failure(uniform([a, b, c], soupPath()), 'MISMATCH');
    expect(error.details.map((d) => [d.file, d.tensor, d.message])).toEqual([
      [b, 'x', `is missing (F32 [1] in ${a})`],
      [c, 'y', `is missing (F32 [1] in ${a})`],
      [b, 'z', `has shape [1], expected [2] as in ${a}`],
      [b, 'extra', `is not in ${a} (F32 [1])`],
    ]);
    expect([error.file, error.tensor]).toEqual([b, 'x']);
    expect(error.message).toBe(`${b}: tensor "x" is missing (F32 [1] in ${a}) (and 3 more)`);
    expect(error.remedy).toContain('--exclude');
  });

  it('behaviour 9: a larger vocabulary is never cropped', async () => {
    const paths = await files(
      [tensor('embed', 'F32', [2, 3], 1)],
      [tensor('embed', 'F32', [4, 3], 1)],
    );
    const error = await failure(uniform(paths, soupPath()), 'MISMATCH');
    expect(error.message).toContain('[4, 3]');
    expect(error.message).toContain('[2, 3]');
  });

  it('behaviour 9: the same number of elements in another shape', async () => {
    const paths = await files([tensor('w', 'F32', [2, 3], 1)], [tensor('w', 'F32', [3, 2], 1)]);
    await failure(uniform(paths, soupPath()), 'MISMATCH');
  });

  it('behaviour 9: a scalar is no vector of one', async () => {
    const paths = await files([tensor('w', 'F32', [], 1)], [tensor('w', 'F32', [1], 1)]);
    const error = await failure(uniform(paths, soupPath()), 'MISMATCH');
    expect(error.message).toContain('has shape [1], expected []');
  });

  it('behaviour 9: heads are left out with --exclude', async () => {
    const paths = await files(
      [f32('body.w', 1), f32('head.w', 1), f32('head.b', 1)],
      [f32('body.w', 3), f32('head.w', 1, 2), f32('other_head.w', 1)],
    );
    const { file, notes } = await soup(paths, { exclude: ['head.*', 'other_head.*'] });
    expect([...file.tensors.keys()]).toEqual(['body.w']);
    expect(numbers(file, 'body.w')).toEqual([2]);
    expect(notes.join()).toContain('3 tensors are left out');
  });

  it('behaviour 9: only what --include names takes part; --exclude wins over it', async () => {
    const paths = await files(
      [f32('body.0.w', 1), f32('body.1.w', 2), f32('head.w', 1)],
      [f32('body.0.w', 3), f32('body.1.w', 4), f32('head.v', 1)],
    );
    expect([...(await soup(paths, { include: ['body.*'] })).file.tensors.keys()]).toEqual([
      'body.0.w',
      'body.1.w',
    ]);
    const both = await soup(paths, { include: ['body.*'], exclude: ['*.1.*'] });
    expect([...both.file.tensors.keys()]).toEqual(['body.0.w']);
    const alternatives = await soup(paths, { include: ['body.{0,1}.?'] });
    expect(alternatives.file.tensors.size).toBe(2);
  });

  it('behaviour 9: globs that leave nothing are refused', async () => {
    const paths = await files([f32('x', 1)]);
    const error = await failure(uniform(paths, soupPath(), { include: ['nope.*'] }), 'USAGE');
    expect(error.message).toContain('none of 1 tensor');
  });

  it('behaviour 9: a floating-point tensor against an integer one', async () => {
    const paths = await files([f32('w', 1)], [tensor('w', 'I32', [1], 1)]);
    const error = await failure(uniform(paths, soupPath()), 'MISMATCH');
    expect(error.message).toContain('is I32, expected a floating-point type like F32');
  });
});

describe('behaviour 10: prefixes', () => {
  const plain = [f32('a.w', 1), f32('b.w', 3)];
  const renamed = (prefix: string, ...values: [number, number]) => [
    f32(`${prefix}a.w`, values[0]),
    f32(`${prefix}b.w`, values[1]),
  ];

  for (const prefix of [
    'module.',
    '_orig_mod.',
    'model.',
    'module._orig_mod.',
    '_orig_mod.module.model.',
  ]) {
    it(`behaviour 10: "${prefix}" in the second, in the first, in one of three`, async () => {
      for (const lists of [
        [plain, renamed(prefix, 3, 5)],
        [renamed(prefix, 3, 5), plain],
        [plain, renamed(prefix, 3, 5), renamed('', 2, 4)],
      ]) {
        const paths = await files(...lists);
        const { file, notes } = await soup(paths);
        expect(numbers(file, 'a.w')).toEqual([2]);
        expect(numbers(file, 'b.w')).toEqual([4]);
        expect(file.tensors.size).toBe(2);
        expect(notes.filter((n) => n.includes(`"${prefix}"`))).toHaveLength(1);
      }
    });
  }

  it('behaviour 10: different prefixes in all', async () => {
    const paths = await files(
      renamed('module.', 1, 2),
      renamed('model.', 3, 4),
      renamed('_orig_mod.', 5, 6),
    );
    const { file } = await soup(paths);
    expect(numbers(file, 'a.w')).toEqual([3]);
    expect(numbers(file, 'b.w')).toEqual([4]);
  });

  it('behaviour 10: a prefix that all safetensors files have is kept', async () => {
    const paths = await files(renamed('model.', 1, 2), renamed('model.', 3, 4));
    const { file, notes } = await soup(paths);
    expect(numbers(file, 'model.a.w')).toEqual([2]);
    expect(notes).toEqual([]);
  });

  it('behaviour 10: a prefix that only some names of a file have is part of its names', async () => {
    const paths = await files([f32('model.a', 1), f32('head', 1)], [f32('a', 1), f32('head', 1)]);
    await failure(uniform(paths, soupPath()), 'MISMATCH');
  });

  it('behaviour 10: a prefix stays where taking it from one file would part the files', async () => {
    const paths = await files(
      [f32('model.a', 1), f32('model.b', 3)],
      [f32('model.a', 3), f32('model.b', 5), f32('head', 1)],
    );
    const error = await failure(uniform(paths, soupPath()), 'MISMATCH');
    expect(error.details.map((d) => d.tensor)).toEqual(['head']);
    const { file } = await soup(paths, { exclude: ['head'] });
    expect(numbers(file, 'model.a')).toEqual([2]);
  });

  it('behaviour 10: a wrapper goes where the model. inside must stay', async () => {
    const paths = await files(
      [f32('model.a', 1), f32('head', 1)],
      [f32('module.model.a', 3), f32('module.head', 3)],
      [f32('_orig_mod.model.a', 5), f32('_orig_mod.head', 5)],
    );
    const { file } = await soup(paths);
    expect(numbers(file, 'model.a')).toEqual([3]);
    expect(numbers(file, 'head')).toEqual([3]);
  });

  it('behaviour 10: a prefix before bert. and old LayerNorm names', async () => {
    const paths = await files(
      [f32('bert.x.LayerNorm.weight', 1), f32('bert.y', 1)],
      [f32('module.x.LayerNorm.gamma', 3), f32('module.y', 3)],
    );
    expect(numbers((await soup(paths)).file, 'bert.x.LayerNorm.weight')).toEqual([2]);
    const { file } = await soup([...paths].reverse());
    expect([...file.tensors.keys()].sort()).toEqual(['x.LayerNorm.gamma', 'y']);
    expect(numbers(file, 'y')).toEqual([2]);
  });

  it('behaviour 10: module. of a PyTorch file is stripped even when it is alone', async () => {
    const { file, notes } = await soup([fixture('data_parallel.pt')]);
    expect([...file.tensors.keys()].every((n) => !n.startsWith('module.'))).toBe(true);
    expect(file.tensors.size).toBe(7);
    expect(notes.join()).toContain('"module."');
  });

  it('behaviour 10: a name that is nothing but the prefix is not emptied', async () => {
    const paths = await files([f32('module.', 1)], [f32('module.', 3)]);
    expect(numbers((await soup(paths)).file, 'module.')).toEqual([2]);
  });
});

describe('behaviour 11: tied tensors', () => {
  const T5 = [
    'shared.weight',
    'encoder.embed_tokens.weight',
    'decoder.embed_tokens.weight',
    'lm_head.weight',
  ] as const;
  const t5 = (names: readonly string[], value: number) => [
    f32('encoder.block.0.w', value),
    ...names.map((n) => f32(n, value, value + 1)),
  ];

  for (const first of T5) {
    for (const second of T5.filter((n) => n !== first)) {
      it(`behaviour 11: ${first} against ${second}`, async () => {
        const paths = await files(t5([first], 1), t5([second], 3));
        const { file, notes } = await soup(paths);
        expect(numbers(file, first)).toEqual([2, 3]);
        expect(file.tensors.size).toBe(2);
        expect(notes.join()).toMatch(/tied/);
      });
    }
  }

  it('behaviour 11: stored by all names in the first, once in the second', async () => {
    const { file } = await soup(await files(t5(T5, 1), t5(['shared.weight'], 3)));
    for (const name of T5) expect(numbers(file, name)).toEqual([2, 3]);
    expect(file.tensors.size).toBe(5);
  });

  it('behaviour 11: stored once in the first, by all names in the second and twice in the third', async () => {
    const { file } = await soup(
      await files(t5(['shared.weight'], 1), t5(T5, 3), t5(['shared.weight', 'lm_head.weight'], 5)),
    );
    expect([...file.tensors.keys()].sort()).toEqual(['encoder.block.0.w', 'shared.weight']);
    expect(numbers(file, 'shared.weight')).toEqual([3, 4]);
  });

  it('behaviour 11: an output head of its own is no tied copy', async () => {
    const own = [f32('shared.weight', 1, 2), f32('lm_head.weight', 7, 8)];
    const lists = [own, [f32('shared.weight', 1, 2)]];
    const forth = await failure(uniform(await files(...lists), soupPath()), 'MISMATCH');
    expect(forth.tensor).toBe('lm_head.weight');
    const back = await failure(uniform(await files(...lists.reverse()), soupPath()), 'MISMATCH');
    expect(back.tensor).toBe('lm_head.weight');
  });

  it('behaviour 11: a language model whose head is stored in one file only', async () => {
    const llm = (value: number, head: boolean) => [
      f32('model.embed_tokens.weight', value),
      f32('model.norm.weight', value),
      ...(head ? [f32('lm_head.weight', value)] : []),
    ];
    const without = await soup(await files(llm(1, false), llm(3, true)));
    expect([...without.file.tensors.keys()].sort()).toEqual([
      'model.embed_tokens.weight',
      'model.norm.weight',
    ]);
    const withHead = await soup(await files(llm(1, true), llm(3, false)));
    expect(numbers(withHead.file, 'lm_head.weight')).toEqual([2]);
    expect(withHead.file.tensors.size).toBe(3);
  });

  it('behaviour 11: what __metadata__ of save_model says', async () => {
    const set = `set ${sets++}`;
    const a = await putTensors(at(set, 'a.safetensors'), [f32('kept', 1)], {
      metadata: { removed: 'kept', format: 'pt' },
    });
    const b = await putTensors(at(set, 'b.safetensors'), [f32('kept', 3), f32('removed', 3)]);
    expect((await openCheckpoint(a)).tied).toEqual([['kept', 'removed']]);
    expect(numbers((await soup([a, b])).file, 'kept')).toEqual([2]);
    const both = await soup([b, a]);
    expect(numbers(both.file, 'removed')).toEqual([2]);
    expect(numbers(both.file, 'kept')).toEqual([2]);
  });

  it('behaviour 11: ties under names with a prefix', async () => {
    const set = `set ${sets++}`;
    const a = await putTensors(at(set, 'a.safetensors'), [f32('module.kept', 1)], {
      metadata: { 'module.removed': 'module.kept' },
    });
    const b = await putTensors(at(set, 'b.safetensors'), [f32('kept', 3), f32('removed', 3)]);
    expect(numbers((await soup([a, b])).file, 'kept')).toEqual([2]);
    expect(numbers((await soup([b, a])).file, 'removed')).toEqual([2]);
  });

  it('behaviour 11: shared storage of a PyTorch file', async () => {
    // a, b, e share one storage, f and g another; c and d are other views.
    const whole = await soup([fixture('shared.pt')]);
    const pick = (names: string[]) =>
      names.map((n) => whole.file.tensors.get(n) as ReturnType<typeof tensor>);
    const [once] = (await files(pick(['b.weight', 'c.weight', 'd.weight', 'f']))) as [string];
    const { file } = await soup([fixture('shared.pt'), once]);
    expect(asObject(file)).toEqual(asObject(whole.file));
  });
});

describe('behaviour 12: buffers that are no longer stored', () => {
  const ids = tensor('embeddings.position_ids', 'I64', [1, 3], [0, 1, 2]);

  it('behaviour 12: in the first only', async () => {
    const { file, notes } = await soup(await files([f32('w', 1), ids], [f32('w', 3)]));
    expect(numbers(file, 'embeddings.position_ids')).toEqual([0, 1, 2]);
    expect(numbers(file, 'w')).toEqual([2]);
    expect(notes.join()).toContain('"embeddings.position_ids" is not stored in');
  });

  it('behaviour 12: in the second only', async () => {
    const { file, notes } = await soup(await files([f32('w', 1)], [f32('w', 3), ids]));
    expect([...file.tensors.keys()]).toEqual(['w']);
    expect(notes.join()).toContain('"embeddings.position_ids"');
  });

  it('behaviour 12: a weight is no buffer', async () => {
    const paths = await files([f32('w', 1), f32('position_embeddings', 1)], [f32('w', 3)]);
    await failure(uniform(paths, soupPath()), 'MISMATCH');
  });

  it('behaviour 12: a floating-point buffer is the mean of those that have it', async () => {
    const inv = (x: number) => f32('layers.0.rotary_emb.inv_freq', x);
    const { file } = await soup(
      await files([f32('w', 1), inv(0.5)], [f32('w', 3)], [f32('w', 5), inv(0.5)]),
    );
    expect(numbers(file, 'layers.0.rotary_emb.inv_freq')).toEqual([0.5]);
    expect(numbers(file, 'w')).toEqual([3]);
  });
});

describe('behaviour 13: other names of the same thing', () => {
  const modern = [
    f32('bert.x.LayerNorm.weight', 1),
    f32('bert.x.LayerNorm.bias', 3),
    f32('bert.x.w', 5),
  ];
  const old = [
    f32('bert.x.LayerNorm.gamma', 3),
    f32('bert.x.LayerNorm.beta', 5),
    f32('bert.x.w', 7),
  ];

  it('behaviour 13: LayerNorm.gamma and beta, either way', async () => {
    const forth = await soup(await files(modern, old));
    expect(numbers(forth.file, 'bert.x.LayerNorm.weight')).toEqual([2]);
    expect(numbers(forth.file, 'bert.x.LayerNorm.bias')).toEqual([4]);
    expect(forth.notes.join()).toContain('LayerNorm');
    const back = await soup(await files(old, modern));
    expect(numbers(back.file, 'bert.x.LayerNorm.gamma')).toEqual([2]);
    expect(numbers(back.file, 'bert.x.LayerNorm.beta')).toEqual([4]);
  });

  it('behaviour 13: bert. or none, either way, with a head beside', async () => {
    const bare = (x: number) => [f32('embeddings.w', x), f32('encoder.layer.0.w', x)];
    const full = (x: number) => [
      f32('bert.embeddings.w', x),
      f32('bert.encoder.layer.0.w', x),
      f32('classifier.weight', x),
    ];
    const both = await soup(await files(full(1), [...bare(3), f32('classifier.weight', 3)]));
    expect(numbers(both.file, 'bert.embeddings.w')).toEqual([2]);
    expect(both.notes.join()).toContain('"bert."');
    const back = await soup(await files(bare(1), full(3)), { exclude: ['classifier.*'] });
    expect(numbers(back.file, 'embeddings.w')).toEqual([2]);
    const error = await failure(uniform(await files(bare(1), full(3)), soupPath()), 'MISMATCH');
    expect(error.details.map((d) => d.tensor)).toEqual(['classifier.weight']);
  });

  it('behaviour 13: old names without the prefix', async () => {
    const bare = old.map((t) => ({ ...t, name: t.name.slice('bert.'.length) }));
    const { file } = await soup(await files(modern, bare));
    expect(numbers(file, 'bert.x.LayerNorm.weight')).toEqual([2]);
    expect(numbers(file, 'bert.x.w')).toEqual([6]);
  });

  it('behaviour 13: a tensor that is called gamma in all files keeps its name', async () => {
    const paths = await files([f32('LayerNorm.gamma', 1)], [f32('LayerNorm.gamma', 3)]);
    const { file, notes } = await soup(paths);
    expect(numbers(file, 'LayerNorm.gamma')).toEqual([2]);
    expect(notes).toEqual([]);
  });

  it.each([
    ['attn.qkv.weight', 'attn.q.weight'],
    ['attn.in_proj_weight', 'attn.q_proj.weight'],
    ['attention.Wqkv.weight', 'attention.query.weight'],
    ['h.0.attn.c_attn.weight', 'h.0.attn.k_proj.weight'],
  ])('behaviour 13: fused %s against split %s is explained', async (fused, split) => {
    const lists = [[f32(fused, 1)], [f32(split, 1)]];
    for (const order of [lists, [...lists].reverse()]) {
      const error = await failure(uniform(await files(...order), soupPath()), 'MISMATCH');
      expect(error.remedy).toContain('fused query-key-value');
      expect(error.remedy).toContain('Convert');
    }
  });
});

describe('behaviour 14: wrapped checkpoints', () => {
  it('behaviour 14: the weights are taken, and the record says from which dict', async () => {
    const out = soupPath();
    const { notes } = await uniform([fixture('wrapped_model.pt')], out);
    expect(notes.join()).toContain('"model"');
    const { record } = await inspect(out);
    expect(record?.ingredients[0]?.key).toBe('model');
  });

  it('behaviour 14: --key chooses, and the record and verify know', async () => {
    const [chosen, taken] = [soupPath(), soupPath()];
    await uniform([fixture('wrapped_model.pt')], taken);
    await uniform([fixture('wrapped_model.pt')], chosen, { key: 'model_ema' });
    const { record } = await inspect(chosen);
    expect(record?.ingredients[0]?.key).toBe('model_ema');
    expect(record?.options.key).toBe('model_ema');
    expect((await diff(chosen, taken)).identical).toBe(false);
    const open = await openCheckpoint(fixture('wrapped_model.pt'), { key: 'model_ema' });
    expect((await diff(open, chosen)).identical).toBe(true);
    expect((await verify(chosen)).verified).toBe(true);
  });

  it('behaviour 14: model_ema where it is the only one', async () => {
    const { file } = await soup([fixture('wrapped_ema.pt')]);
    expect([...file.tensors.keys()]).toEqual(['w']);
  });

  it('behaviour 14: a key for a safetensors file is wrong usage', async () => {
    const paths = await files([f32('w', 1)]);
    const error = await failure(uniform(paths, soupPath(), { key: 'model' }), 'USAGE');
    expect(error.message).toContain('--key');
  });
});

describe('behaviour 15: duplicates', () => {
  it('behaviour 15: equal ingredients are named, and each counts', async () => {
    const [a, b, c] = (await files([f32('w', 0)], [f32('w', 3)], [f32('w', 3)])) as [
      string,
      string,
      string,
    ];
    const { file, warnings } = await soup([a, b, c]);
    expect(numbers(file, 'w')).toEqual([2]);
    expect(warnings).toHaveLength(1);
    expect(warnings[0]).toContain(b);
    expect(warnings[0]).toContain(c);
    expect(warnings[0]).not.toContain(a);
  });

  it('behaviour 15: one path twice', async () => {
    const [a] = (await files([f32('w', 1)])) as [string];
    const { warnings, members } = await soup([a, a]);
    expect(warnings.join()).toContain('hold the same tensors');
    expect(members).toEqual([0, 1]);
  });

  it('behaviour 15: the same tensors in another order are duplicates; names, types and bits count', async () => {
    const x = f32('x', 1, 2);
    const y = f32('y', 3);
    const paths = await files(
      [x, y],
      [y, x],
      [x, f32('z', 3)],
      [x, tensor('y', 'BF16', [1], 3)],
      [x, f32('y', -0)],
      [x, f32('y', 0)],
      [tensor('x', 'F32', [2, 1], [1, 2]), y],
    );
    const hashes = await Promise.all(paths.map(async (p) => contentHash(await openCheckpoint(p))));
    expect(hashes[1]).toBe(hashes[0]);
    expect(new Set(hashes).size).toBe(6);
  });

  it('behaviour 15: different ingredients give no warning', async () => {
    const { warnings } = await soup(await files([f32('w', 1)], [f32('w', 2)]));
    expect(warnings).toEqual([]);
  });
});

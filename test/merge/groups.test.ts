import { describe, expect, it } from 'vitest';
import { openCheckpoint } from '../../lib/checkpoint/open.js';
import { groupTensors, layerOf } from '../../lib/merge/groups.js';
import { matchTensors } from '../../lib/merge/match.js';
import { makeSoup } from '../../lib/soup/make.js';
import { verify } from '../../lib/verify.js';
import { useFolder } from '../helpers/folder.js';
import { numbers, putTensors, readBack, tensor } from '../helpers/safetensors.js';

const at = useFolder();

describe('layers', () => {
  it.each([
    ['vit.encoder.layer.3.attention.query.weight', 'vit.encoder.layer.3'],
    ['decoder.block.1.layer.0.SelfAttention.q.weight', 'decoder.block.1'],
    ['cls_token', 'cls_token'],
    ['head.weight', 'head'],
    ['vit.embeddings.cls_token', 'vit.embeddings'],
    ['0.weight', '0'],
    ['a1.2b.weight', 'a1.2b'],
  ])('%s is in %s', (name, layer) => expect(layerOf(name)).toBe(layer));
});

const ingredient = (i: number) => [
  tensor('shared.weight', 'F32', [2, 1], [i, 2 * i]),
  tensor('block.0.w', 'F32', [2], [10 * i, 1]),
  tensor('block.0.b', 'F32', [1], [i]),
  tensor('head.w', 'F32', [3], 100 * i),
  tensor('lm_head.weight', 'F32', [2, 1], [i, 2 * i]),
];

async function open(name: string, tied = true) {
  const paths = await Promise.all(
    [1, 2, 3].map((i) => {
      const tensors = ingredient(i);
      if (!tied) tensors[4] = tensor('lm_head.weight', 'F32', [2, 1], [i, 2]);
      return putTensors(at(name, `${i}.safetensors`), tensors);
    }),
  );
  const checkpoints = await Promise.all(paths.map((p) => openCheckpoint(p)));
  return { paths, checkpoints, matched: (await matchTensors(checkpoints)).tensors };
}

describe('groups of tensors', () => {
  it('by layer, tied copies in the group of the first', async () => {
    const { checkpoints, matched } = await open('layers');
    const groups = await groupTensors(checkpoints, matched, 'layer');
    expect(groups.names).toEqual(['shared', 'block.0', 'head']);
    expect(groups.sizes).toEqual([2, 3, 3]);
    expect(groups.indexOf('lm_head.weight')).toBe(groups.indexOf('shared.weight'));
  });

  it('by tensor, tensors of other values apart', async () => {
    const { checkpoints, matched } = await open('apart', false);
    const groups = await groupTensors(checkpoints, matched, 'tensor');
    expect(groups.names).toEqual(matched.map((m) => m.name));
    expect((await groupTensors(checkpoints, matched, 'model')).names).toEqual(['']);
  });

  it('make a soup of a row of weights each, which verify proves', async () => {
    const { paths } = await open('soup');
    const alpha = { shared: [1, 0, 0], 'block.0': [0.5, 0.25, 0.25], head: [0, 0, 2] };
    const soup = await makeSoup('learned', paths, at('soup.safetensors'), {
      mixture: { by: 'layer', alpha },
    });
    const file = await readBack(at('soup.safetensors'));
    const values = Object.fromEntries([...file.tensors.keys()].map((n) => [n, numbers(file, n)]));
    expect(values).toEqual({
      'shared.weight': [1, 2],
      'lm_head.weight': [1, 2],
      'block.0.w': [17.5, 1],
      'block.0.b': [1.75],
      'head.w': [600, 600, 600],
    });
    // The mean over the eight weights: 2 of shared, 3 of block.0, 3 of head.
    expect(soup.weights).toEqual([(2 + 1.5) / 8, 0.75 / 8, (0.75 + 6) / 8]);
    expect(soup.members).toEqual([0, 1, 2]);
    expect((await verify(at('soup.safetensors'))).verified).toBe(true);
  });

  it('refuse a group without weights', async () => {
    const { paths } = await open('less');
    const mixture = { by: 'layer' as const, alpha: { shared: [1, 0, 0], head: [1, 0, 0] } };
    await expect(makeSoup('learned', paths, at('no.safetensors'), { mixture })).rejects.toThrow(
      'expected weights for the group "block.0"',
    );
  });
});

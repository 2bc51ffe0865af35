import { describe, expect, it } from 'vitest';
import { evaluate, type UniformOptions, uniform } from '../../lib/index.js';
import { failure } from '../helpers/errors.js';
import { listing, useFolder } from '../helpers/folder.js';
import { putTensors, tensor } from '../helpers/safetensors.js';

const at = useFolder();
const one = () => putTensors(at('one.safetensors'), [tensor('w', 'F32', [1], [1])]);

describe('what callers without types may give', () => {
  it('is refused as wrong usage that says what was expected, and nothing is written', async () => {
    const path = await one();
    const wrong = async (ingredients: unknown, output: unknown, options: object = {}) =>
      (await failure(uniform(ingredients as [], output as '', options as UniformOptions), 'USAGE'))
        .message;
    expect(await wrong(path, at('x'))).toContain('a list of ingredients');
    expect(await wrong(undefined, at('x'))).toContain('a list of ingredients');
    expect(await wrong([path, null], at('x'))).toContain('expected ingredient 1 to be a path');
    expect(await wrong([5], at('x'))).toContain('received 5');
    expect(await wrong([path], undefined)).toContain('a path or a writable stream');
    expect(await wrong([path], {})).toContain('a path or a writable stream');
    expect(await wrong([path], at('x'), { dtype: 'f64' })).toContain('keep, f32, f16, bf16');
    expect(await wrong([path], at('x'), { include: 'w' })).toContain('a list of globs');
    expect(await wrong([path], at('x'), { weights: [undefined] })).toContain('received undefined');
    for (const data of [undefined, '', [], [5]])
      await failure(evaluate([path], { data } as { data: string }), 'USAGE');
    expect(await listing(at())).toEqual(['one.safetensors']);
  });
});

import { describe, expect, it } from 'vitest';
import { remembering } from '../../lib/checkpoint/remember.js';
import type { Checkpoint } from '../../lib/checkpoint/types.js';

const checkpoint = (path: string) => ({ path }) as Checkpoint;

describe('remembering what was found for checkpoints', () => {
  it('works again only for other checkpoints, another order, or other options', async () => {
    const calls: string[] = [];
    const find = remembering(async (checkpoints, option: string) => {
      calls.push(checkpoints.map((c) => c.path).join('') + option);
      return calls.length;
    }, String);
    const [a, b, c] = ['a', 'b', 'c'].map(checkpoint) as [Checkpoint, Checkpoint, Checkpoint];
    expect(await find([a, b], '1')).toBe(1);
    expect(await find([a, b], '1')).toBe(1);
    expect(await find([a, b], '2')).toBe(2);
    expect(await find([a, c], '2')).toBe(3);
    expect(await find([a], '2')).toBe(4);
    expect(await find([b, a], '2')).toBe(5);
    expect(await find([a], '2')).toBe(4);
    expect(await find([checkpoint('a')], '2')).toBe(6);
    await find([], '');
    await find([], '');
    expect(calls).toEqual(['ab1', 'ab2', 'ac2', 'a2', 'ba2', 'a2', '', '']);
  });

  it('keeps no failure', async () => {
    let calls = 0;
    const find = remembering(async () => {
      if (calls++ === 0) throw new Error('aborted');
      return calls;
    }, String);
    const a = checkpoint('a');
    await expect(find([a], undefined)).rejects.toThrow('aborted');
    expect(await find([a], undefined)).toBe(2);
    expect(await find([a], undefined)).toBe(2);
  });
});

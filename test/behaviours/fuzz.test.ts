import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { parseJsonStrict } from '../../lib/checkpoint/json.js';
import { inspect, openCheckpoint, StockpotError, uniform } from '../../lib/index.js';
import { useFolder } from '../helpers/folder.js';
import { put, safetensors, tensor } from '../helpers/safetensors.js';

const at = useFolder();

type Mutation = { kind: number; place: number; byte: number; length: number };
const mutations = fc.array(
  fc.record({
    kind: fc.nat(5),
    place: fc.double({ min: 0, max: 1, noNaN: true, maxExcluded: true }),
    byte: fc.nat(255),
    length: fc.integer({ min: 1, max: 12 }),
  }),
  { minLength: 1, maxLength: 4 },
);

/** Bytes changed, flipped, cut out, put in, doubled, or cut off. */
function mutate(bytes: Buffer, list: readonly Mutation[], from = 0): Buffer {
  let out = Buffer.from(bytes);
  for (const { kind, place, byte, length } of list) {
    const at = from + Math.floor(place * (out.length - from));
    const [before, after] = [out.subarray(0, at), out.subarray(at)];
    if (kind === 0) out[at] = byte;
    else if (kind === 1) out[at] = (out[at] ?? 0) ^ (1 << (byte & 7));
    else if (kind === 2) out = Buffer.concat([before, after.subarray(length)]);
    else if (kind === 3) out = Buffer.concat([before, Buffer.alloc(length, byte), after]);
    else if (kind === 4) out = Buffer.concat([before, after.subarray(0, length), after]);
    else out = Buffer.from(before);
  }
  return out;
}

/** Opens it and merges it: it works, or it is refused in a StockpotError that names a file. */
async function survives(path: string): Promise<boolean> {
  try {
    await inspect(await openCheckpoint(path), { hash: true });
    await uniform([path, path], at('soup.safetensors'), { overwrite: true });
    return true;
  } catch (error) {
    if (!(error instanceof StockpotError)) throw error;
    expect(['NATIVE', 'IO']).not.toContain(error.code);
    expect(error.message).not.toContain('\n');
    return false;
  }
}

const valid = safetensors(
  [
    tensor('a.weight', 'F32', [2, 3], 1),
    tensor('b.bias', 'BF16', [4], 2),
    tensor('ids', 'I64', [2], 3),
    tensor('scale', 'F16', [], 4),
  ],
  { metadata: { format: 'pt', kept: 'a.weight' } },
);

describe('fuzzing', () => {
  it('behaviour 17: a safetensors file with random changes', async () => {
    let read = 0;
    const property = fc.asyncProperty(mutations, async (list) => {
      if (await survives(await put(at('w.safetensors'), mutate(valid, list)))) read++;
    });
    await fc.assert(property, { numRuns: 400 });
    // Changes of elements only are no errors: the test would be empty if everything were refused.
    expect(read).toBeGreaterThan(0);
    expect(read).toBeLessThan(400);
  });

  it('behaviour 17: a header with random changes, its length put right', async () => {
    const length = Number(valid.readBigUInt64LE(0));
    const header = valid.subarray(8, 8 + length);
    const property = fc.asyncProperty(mutations, async (list) => {
      const changed = mutate(header, list);
      const size = Buffer.alloc(8);
      size.writeBigUInt64LE(BigInt(changed.length));
      const bytes = Buffer.concat([size, changed, valid.subarray(8 + length)]);
      await survives(await put(at('w.safetensors'), bytes));
    });
    await fc.assert(property, { numRuns: 400 });
  });

  it('behaviour 17: any JSON as a header', async () => {
    const info = fc.oneof(
      fc.jsonValue(),
      fc.record(
        {
          dtype: fc.oneof(fc.constantFrom('F32', 'U8', 'BOOL', 'F8_E4M3'), fc.jsonValue()),
          shape: fc.oneof(fc.array(fc.integer({ min: -1, max: 3 })), fc.jsonValue()),
          data_offsets: fc.oneof(fc.tuple(fc.nat(30), fc.nat(30)), fc.jsonValue()),
        },
        { requiredKeys: [] },
      ),
    );
    const header = fc.dictionary(
      fc.oneof(fc.string(), fc.constantFrom('__metadata__', '__proto__')),
      info,
    );
    const property = fc.asyncProperty(header, fc.nat(40), async (value, data) => {
      const json = Buffer.from(JSON.stringify(value));
      const size = Buffer.alloc(8);
      size.writeBigUInt64LE(BigInt(json.length));
      const bytes = Buffer.concat([size, json, Buffer.alloc(data)]);
      await survives(await put(at('w.safetensors'), bytes));
    });
    await fc.assert(property, { numRuns: 300 });
  });

  it('behaviour 18: an index with random changes', async () => {
    const map = { 'a.weight': 'x.safetensors', 'b.bias': 'x.safetensors', ids: 'y.safetensors' };
    const index = Buffer.from(JSON.stringify({ metadata: { total_size: 1 }, weight_map: map }));
    await put(
      at('sharded/x.safetensors'),
      safetensors([tensor('a.weight', 'F32', [2], 1), tensor('b.bias', 'F32', [1], 1)]),
    );
    await put(at('sharded/y.safetensors'), safetensors([tensor('ids', 'I64', [1], 1)]));
    const property = fc.asyncProperty(mutations, async (list) => {
      await put(at('sharded/model.safetensors.index.json'), mutate(index, list));
      await survives(at('sharded'));
    });
    await fc.assert(property, { numRuns: 300 });
  });

  it.each(['plain.pt', 'views.pt', 'shared.pt', 'wrapped_model.pt'])(
    'behaviour 19: %s with random changes',
    async (name) => {
      const bytes = await readFile(join(import.meta.dirname, '../fixtures/pytorch', name));
      const property = fc.asyncProperty(mutations, async (list) => {
        await survives(await put(at('w.pt'), mutate(bytes, list)));
      });
      await fc.assert(property, { numRuns: 150 });
    },
  );

  it('random bytes', async () => {
    const property = fc.asyncProperty(
      fc.uint8Array({ maxLength: 600 }),
      fc.constantFrom('w.safetensors', 'w.pt'),
      async (bytes, name) => {
        expect(await survives(await put(at(name), Buffer.from(bytes)))).toBe(false);
      },
    );
    await fc.assert(property, { numRuns: 200 });
  });

  it('JSON is read as JSON.parse reads it, but for keys that occur twice', () => {
    const property = fc.property(fc.jsonValue({ maxDepth: 4 }), fc.nat(4), (value, indent) => {
      const text = JSON.stringify(value, null, indent);
      expect(parseJsonStrict(text)).toEqual(JSON.parse(text));
    });
    fc.assert(property, { numRuns: 300 });
    const twice = fc.property(fc.string(), fc.jsonValue(), (key, value) => {
      const pair = `${JSON.stringify(key)} : ${JSON.stringify(value)}`;
      expect(() => parseJsonStrict(`[{"x":{${pair},${pair}}}]`)).toThrow(/occurs twice/);
    });
    fc.assert(twice, { numRuns: 200 });
  });
});

import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { gunzipSync } from 'node:zlib';
import fc from 'fast-check';
import { afterAll, describe, expect, it } from 'vitest';
import { root } from '../helpers/cli.js';
import { sanitized } from '../helpers/sanitized.js';
import seeds from './seeds.json' with { type: 'json' };
import type { FuzzTarget } from './support.js';

/** Of this process, vitest and all targets included. */
const MOST_MEGABYTES = 1536;
/** Inputs that are made of each target's own, with a seed that does not change. */
const RUNS = 250;

const inside = (folder: string): string[] =>
  existsSync(folder)
    ? readdirSync(folder)
        .sort()
        .map((n) => join(folder, n))
    : [];

function bytesOf(path: string): Buffer {
  const bytes = readFileSync(path);
  return path.endsWith('.gz') ? gunzipSync(bytes) : bytes;
}

const mutation = fc.record({
  kind: fc.nat(5),
  place: fc.double({ min: 0, max: 1, noNaN: true, maxExcluded: true }),
  byte: fc.nat(255),
  length: fc.integer({ min: 1, max: 16 }),
});

type Mutation = typeof mutation extends fc.Arbitrary<infer T> ? T : never;

/** A byte changed, a bit flipped, bytes cut out, put in, doubled, or the rest cut off. */
function mutate(bytes: Buffer, { kind, place, byte, length }: Mutation): Buffer {
  const at = Math.floor(place * bytes.length);
  const [before, after] = [bytes.subarray(0, at), bytes.subarray(at)];
  if (kind <= 1) {
    const out = Buffer.from(bytes);
    if (out.length > 0) out[at] = kind === 0 ? byte : (out[at] as number) ^ (1 << (byte & 7));
    return out;
  }
  if (kind === 2) return Buffer.concat([before, after.subarray(length)]);
  if (kind === 3) return Buffer.concat([before, Buffer.alloc(length, byte), after]);
  if (kind === 4) return Buffer.concat([before, after.subarray(0, length), after]);
  return before;
}

/** Every target is an async function that throws nothing but what is a fault of the reader. */
describe.each(Object.entries(seeds))('fuzz target %s', (name, listed) => {
  const own = [
    ...listed.map((path) => join(root, path)),
    ...inside(join(import.meta.dirname, 'corpus', name)),
  ];
  const crashes = inside(join(import.meta.dirname, 'crashes', name));
  const load = async () => (await import(`./targets/${name}.ts`)).fuzz as FuzzTarget;

  it('reads or refuses the files that fuzzing begins from, and what it found', async () => {
    const fuzz = await load();
    expect(own.length).toBeGreaterThan(0);
    for (const path of [...own, ...crashes]) await fuzz(bytesOf(path));
    await fuzz(Buffer.alloc(0));
  });

  it('reads or refuses them with random changes', async () => {
    const fuzz = await load();
    const files = own.map(bytesOf);
    const changed = fc.asyncProperty(
      fc.nat(files.length - 1),
      fc.array(mutation, { minLength: 1, maxLength: 4 }),
      async (file, changes) => fuzz(changes.reduce(mutate, files[file] as Buffer)),
    );
    await fc.assert(changed, { numRuns: RUNS, seed: 20221123 });
  });
});

afterAll(() => {
  if (!sanitized) expect(process.resourceUsage().maxRSS / 1024).toBeLessThan(MOST_MEGABYTES);
});

import { readFileSync } from 'node:fs';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { planResidency, workingSet } from '../../lib/merge/residency.js';

const GB = 1e9;
const working = { soup: 3, gradient: 5, activations: 7, ring: 11 };

describe('planResidency', () => {
  it('keeps all that fit, and then needs no ring', () => {
    expect(planResidency([10, 20], working, 45)).toEqual({
      resident: [0, 1],
      streamed: [],
      bytes: 45,
      fits: true,
    });
  });

  it('streams the rest through the ring', () => {
    expect(planResidency([10, 20], working, 44)).toEqual({
      resident: [0],
      streamed: [1],
      bytes: 36,
      fits: true,
    });
    expect(planResidency([10, 20], working, 26)).toMatchObject({
      resident: [],
      bytes: 26,
      fits: true,
    });
  });

  it('says where the working set alone is too large', () => {
    expect(planResidency([10, 20], working, 25)).toMatchObject({ resident: [], fits: false });
  });

  it('never plans for more than there is, and keeps no fewer with more', () => {
    const sizes = fc.array(fc.integer({ min: 1, max: 1000 }), { minLength: 1, maxLength: 80 });
    fc.assert(
      fc.property(
        sizes,
        fc.integer({ min: 26, max: 50_000 }),
        fc.nat(2000),
        (all, memory, more) => {
          const plan = planResidency(all, working, memory);
          expect(plan.bytes).toBeLessThanOrEqual(memory);
          expect([...plan.resident, ...plan.streamed]).toEqual(all.map((_, i) => i));
          const larger = planResidency(all, working, memory + more);
          expect(larger.resident.length).toBeGreaterThanOrEqual(plan.resident.length);
        },
      ),
    );
  });
});

describe('docs/gpu.md', () => {
  const text = readFileSync(new URL('../../docs/gpu.md', import.meta.url), 'utf8');
  const table = text.split('<!-- memory:start -->')[1]?.split('<!-- memory:end -->')[0] ?? '';
  const rows = table
    .split('\n')
    .filter((line) => /^\| \d/.test(line))
    .map((line) => line.split('|').map((cell) => cell.trim()));
  // ViT-G/14 at 224 pixels in bfloat16, batches of 32: values of T = 257 rows that live at a time (three of 1664 and one
  // of 8192 columns), and 449 MB an image for a backward pass.
  const vitG = {
    parameters: 1.845e9,
    weightBytes: 2,
    forwardBytes: 257 * (3 * 1664 + 8192) * 2,
    backwardBytes: 449e6,
    batch: 32,
  };
  const card = { H100: 80, H200: 141 } as const;

  it('has rows', () => expect(rows.length).toBeGreaterThanOrEqual(6));

  it.each(rows)('its table is what the planner says: %s%s', (_, k, ...cells) => {
    const ingredients = Array<number>(Number(k)).fill(vitG.parameters * 2);
    const expected = (['greedy', 'learned'] as const).flatMap((recipe) => [
      (
        planResidency(ingredients, workingSet(recipe, vitG), Number.POSITIVE_INFINITY).bytes / GB
      ).toFixed(0),
      ...Object.values(card).map((size) => {
        const plan = planResidency(ingredients, workingSet(recipe, vitG), size * GB * 0.95);
        return plan.streamed.length
          ? `${plan.resident.length}, ${plan.streamed.length} streamed`
          : 'all';
      }),
    ]);
    expect(cells.slice(0, -1)).toEqual(expected);
  });
});

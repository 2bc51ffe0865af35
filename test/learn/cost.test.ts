// The table of docs/learned.md is what the planner says, for the real shapes of ViT-B/32 and ViT-G/14.
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import type { DType } from '../../lib/checkpoint/dtype.js';
import { pantryBytes, pantryTensor } from '../../lib/learn/pantry.js';
import { type LearningPlan, planLearning } from '../../lib/learn/plan.js';
import { layerOf } from '../../lib/merge/groups.js';
import { buildNetwork } from '../../lib/models/index.js';
import { packageRoot } from '../../lib/native.js';
import { checkpointOf } from '../models/made_up.js';

/** Names and shapes of a timm ViT. */
function vit(patch: number, tokens: number, D: number, depth: number, M: number, classes: number) {
  const shapes = new Map<string, { shape: number[]; dtype?: DType }>();
  const add = (name: string, ...shape: number[]) => shapes.set(name, { shape });
  add('cls_token', 1, 1, D);
  add('pos_embed', 1, tokens, D);
  add('patch_embed.proj.weight', D, 3, patch, patch);
  add('patch_embed.proj.bias', D);
  for (let i = 0; i < depth; i++) {
    const b = `blocks.${i}`;
    for (const n of ['norm1', 'norm2']) {
      add(`${b}.${n}.weight`, D);
      add(`${b}.${n}.bias`, D);
    }
    add(`${b}.attn.qkv.weight`, 3 * D, D);
    add(`${b}.attn.qkv.bias`, 3 * D);
    add(`${b}.attn.proj.weight`, D, D);
    add(`${b}.attn.proj.bias`, D);
    add(`${b}.mlp.fc1.weight`, M, D);
    add(`${b}.mlp.fc1.bias`, M);
    add(`${b}.mlp.fc2.weight`, D, M);
    add(`${b}.mlp.fc2.bias`, D);
  }
  add('norm.weight', D);
  add('norm.bias', D);
  add('head.weight', classes, D);
  add('head.bias', classes);
  return shapes;
}

const NETWORKS = {
  'ViT-B/32': {
    k: 72,
    dtype: 'F32' as DType,
    shapes: vit(32, 50, 768, 12, 3072, 1000),
    architecture: 'vit_base_patch32_224',
    heads: 12,
  },
  'ViT-G/14': {
    k: 28,
    dtype: 'BF16' as DType,
    shapes: vit(14, 257, 1664, 48, 8192, 1000),
    architecture: 'vit_gigantic_patch14_224',
    heads: 16,
  },
};

function planOf(name: keyof typeof NETWORKS, by: 'model' | 'layer', memory: number): LearningPlan {
  const { k, dtype, shapes, architecture } = NETWORKS[name];
  for (const t of shapes.values()) t.dtype = dtype;
  const checkpoint = checkpointOf(shapes);
  const network = buildNetwork(
    checkpoint,
    { architecture, num_classes: 1000, pretrained_cfg: { input_size: [3, 224, 224] } },
    {},
  );
  const groups = new Map<string, number>();
  for (const [tensor, entry] of checkpoint.tensors) {
    const group = by === 'model' ? '' : layerOf(tensor);
    // Every ingredient has its own entry, as when they are opened.
    const entries = Array.from({ length: k }, () => entry);
    const bytes = pantryBytes([pantryTensor({ name: tensor, entries })]);
    groups.set(group, (groups.get(group) ?? 0) + bytes);
  }
  return planLearning({ network, groups: [...groups.values()], threads: 2, examples: 256, memory });
}

const WHERE = { memory: 'all in memory', group: 'a layer at a time', disk: 'streamed' };

const ROWS: [keyof typeof NETWORKS, 'model' | 'layer', number][] = [
  ['ViT-B/32', 'model', 1.5e9],
  ['ViT-B/32', 'layer', 3e9],
  ['ViT-B/32', 'layer', 32e9],
  ['ViT-G/14', 'model', 20e9],
  ['ViT-G/14', 'layer', 22e9],
  ['ViT-G/14', 'layer', 136e9],
];

describe('docs/learned.md', () => {
  const rows = readFileSync(join(packageRoot, 'docs/learned.md'), 'utf8')
    .split('\n')
    .map((line) => line.split('|').map((cell) => cell.trim()));

  it.each(ROWS)('has the plan of %s by %s within %d bytes', (name, by, memory) => {
    const plan = planOf(name, by, memory);
    const of = `${name} × ${NETWORKS[name].k}`;
    const row = rows.find((r) => r[1] === of && r[2] === by && gb(r[3]) === memory / 1e9);
    const [, , , , network, batch = '', where, held, reads] = row as string[];
    // Panels of matrices have other sizes on other instruction sets.
    const near = (found: number, documented: number) =>
      expect(Math.abs(found - documented)).toBeLessThan(0.03 * documented + 0.01);
    near(plan.network / 1e9, gb(network));
    near(plan.ingredients / 1e9, gb(held));
    near(plan.readsPerStep / 1e9, gb(reads));
    expect(where).toBe(WHERE[plan.residence]);
    const examples = Number(/^\d+/.exec(batch)?.[0]);
    expect(Math.abs(plan.batch - examples)).toBeLessThanOrEqual(1 + 0.1 * examples);
    expect(batch.includes('parts')).toBe(plan.segments > 1);
    expect(plan.memory).toBeLessThanOrEqual(memory);
  });
});

const gb = (cell: string | undefined): number => Number(/^([\d.]+) GB$/.exec(cell ?? '')?.[1]);

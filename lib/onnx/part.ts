import type { OnnxModel, OnnxNode } from './model.js';
import { output } from './write.js';

/** The part of a graph that makes one of its values, which becomes its only output (float32). */
export function partFor(model: OnnxModel, value: string): OnnxModel {
  const maker = new Map<string, OnnxNode>();
  for (const n of model.nodes) for (const o of n.outputs) maker.set(o, n);
  const needed = new Set<string>();
  const nodes = new Set<OnnxNode>();
  const open = [value];
  for (let name = open.pop(); name !== undefined; name = open.pop()) {
    if (needed.has(name)) continue;
    needed.add(name);
    const node = maker.get(name);
    if (!node || nodes.has(node)) continue;
    nodes.add(node);
    open.push(...node.inputs, ...node.captured);
  }
  return {
    ...model,
    nodes: model.nodes.filter((n) => nodes.has(n)),
    initializers: model.initializers.filter((i) => needed.has(i.name)),
    inputs: model.inputs.filter((i) => needed.has(i.name)),
    outputs: [{ name: value, type: 1, shape: undefined, raw: output(value, 'F32') }],
  };
}

/**
 * The value in which one group of inputs meets the rest: of a graph that compares images with texts, the texts' features.
 * Values that depend on both come only after it.
 * @param own names of the inputs of the group
 * @returns undefined where they never meet
 */
export function whereInputsMeet(model: OnnxModel, own: ReadonlySet<string>): string | undefined {
  const [MINE, OTHERS] = [1, 2];
  const from = new Map<string, number>();
  for (const i of model.inputs) from.set(i.name, own.has(i.name) ? MINE : OTHERS);
  for (const node of model.nodes) {
    const names = [...node.inputs, ...node.captured];
    const all = names.reduce((bits, n) => bits | (from.get(n) ?? 0), 0);
    if (all === (MINE | OTHERS)) {
      const mine = names.find((n) => from.get(n) === MINE);
      if (mine !== undefined) return mine;
    }
    for (const o of node.outputs) from.set(o, all);
  }
  return undefined;
}

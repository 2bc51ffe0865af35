import { basename } from 'node:path';
import { type Mix, meanOf, type Panel } from './panel.js';
import { ensembleLogits, type GreedyPath } from './selection.js';
import type { MethodKind } from './types.js';

/** Something that classifies, made of the panel's models. */
export interface Method {
  id: string;
  kind: MethodKind;
  label: string;
  /** Positions of models. */
  members: number[];
  /** Mixed into one network; null: the mean of the members' outputs. */
  mix: Mix | null;
  /** Shares of the ingredients, where they are mixed and the shares are one a model. */
  weights: number[] | null;
  order?: number[];
  /** Decided on each set by its own labels. */
  oracle?: true;
}

/** Logits of a method on a panel's set. @param best the panel's own best individual, for the oracle */
export async function logitsOf(method: Method, panel: Panel, best: number): Promise<Float32Array> {
  if (method.oracle) return panel.logits(meanOf(panel.models.length, [best]));
  if (method.mix) return panel.logits(method.mix);
  return ensembleLogits(panel, method.members);
}

/** What the recipes decided on the held-out set. */
export interface Decisions {
  /** Number of ingredients; they are the first of the models. */
  ingredients: number;
  base: number | null;
  soups: readonly number[];
  /** Best first. */
  order: readonly number[];
  greedy: GreedyPath | null;
  random: readonly { order: number[]; path: GreedyPath }[];
  /** Learned soups are models of their own. */
  learned: readonly { label: string; model: number; weights: number[] | null }[];
  greedyEnsemble: readonly number[] | null;
  /** Whether soups and ensembles are made. */
  recipes: boolean;
}

/** All methods of a comparison, in the order of its table. @param paths of the models */
export function listMethods(d: Decisions, paths: readonly string[]): Method[] {
  const k = paths.length;
  const all = [...Array(d.ingredients).keys()];
  const one = (
    id: string,
    kind: MethodKind,
    label: string,
    i: number,
    members: number[],
  ): Method => ({
    id,
    kind,
    label,
    members,
    mix: meanOf(k, [i]),
    weights: members.length === 0 ? null : meanOf(d.ingredients, members),
  });
  const soup = (id: string, kind: MethodKind, label: string, members: number[]): Method => ({
    id,
    kind,
    label,
    members,
    mix: meanOf(k, members),
    weights: meanOf(d.ingredients, members),
  });
  const names = shortNames(paths);
  const several = d.recipes && d.ingredients > 1;
  const methods: Method[] = [
    ...(d.base === null
      ? []
      : [
          one(
            'base',
            'base',
            names[d.base] === 'base' ? 'base' : `${names[d.base]} (base)`,
            d.base,
            [],
          ),
        ]),
    ...all.map((i) => one(`individual-${i}`, 'individual', names[i] as string, i, [i])),
    ...d.soups.map((i, at) => one(`soup-${at}`, 'soup', names[i] as string, i, [])),
    ...(several ? [soup('uniform', 'uniform', 'uniform soup', all)] : []),
    ...(d.greedy ? [soup('greedy', 'greedy', 'greedy soup', d.greedy.members)] : []),
    ...d.random.map(({ order, path }, at) => ({
      ...soup(
        `greedy-random-${at}`,
        'greedy-random',
        `greedy soup, random order ${at + 1}`,
        path.members,
      ),
      order,
    })),
    ...d.learned.map(
      ({ label, model, weights }, at): Method => ({
        id: at === 0 ? 'learned' : `learned-${at}`,
        kind: 'learned',
        label,
        members: all.filter((i) => weights?.[i] !== 0),
        mix: meanOf(k, [model]),
        weights,
      }),
    ),
    ...(several
      ? [
          {
            id: 'ensemble',
            kind: 'ensemble' as const,
            label: 'ensemble',
            members: all,
            mix: null,
            weights: null,
          },
        ]
      : []),
    ...(d.greedyEnsemble
      ? [
          {
            id: 'greedy-ensemble',
            kind: 'greedy-ensemble' as const,
            label: 'greedy ensemble',
            members: [...d.greedyEnsemble],
            mix: null,
            weights: null,
          },
        ]
      : []),
    ...(several
      ? [
          {
            id: 'oracle',
            kind: 'oracle' as const,
            label: 'best individual of each set (oracle)',
            members: [],
            mix: null,
            weights: null,
            oracle: true as const,
          },
        ]
      : []),
  ];
  // A model may be called as a recipe is: labels tell marks apart.
  const labels = methods.map((m) => m.label);
  return methods.map((m, at) =>
    labels.indexOf(m.label) === at ? m : { ...m, label: `${m.label} (${m.id})` },
  );
}

/** File or folder names, with as much of the path as tells them apart. */
export function shortNames(paths: readonly string[]): string[] {
  const bare = paths.map((p) => basename(p).replace(/\.(safetensors|pt|pth|bin|ckpt)$/i, ''));
  return bare.map((name, i) =>
    bare.indexOf(name) === i && bare.lastIndexOf(name) === i ? name : (paths[i] as string),
  );
}

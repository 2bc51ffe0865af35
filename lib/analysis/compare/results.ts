import { difference, type Interval, intervalOf, meanOfDistributions } from '../bootstrap.js';
import { CURVES, type Curve, type Judged } from './judge.js';
import type { Method } from './methods.js';
import type { ComparedSet, CurvePoint, MethodResult } from './types.js';

/** Puts together what was measured on each set. */
export class Results {
  private readonly shifted: Judged[];

  constructor(
    private readonly sets: readonly ComparedSet[],
    private readonly judged: readonly Judged[],
    private readonly level: number,
  ) {
    this.shifted = judged.filter((_, s) => sets[s]?.role === 'shifted');
  }

  method(
    m: Method,
    at: number,
    reference: number,
    { beta, flops }: { beta: number | null; flops: number | null },
  ): MethodResult {
    const passes = m.mix || m.oracle ? 1 : m.members.length;
    const { shifted, level } = this;
    const shiftOf = (method: number) =>
      meanOfDistributions(shifted.map((j) => j.accuracy[method] as Judged['accuracy'][number]));
    return {
      id: m.id,
      kind: m.kind,
      label: m.label,
      members: m.members,
      weights: m.weights,
      ...(m.order ? { order: m.order } : {}),
      looksAtTest: m.oracle === true,
      ...(m.oracle
        ? {
            chosen: Object.fromEntries(
              this.sets.map((s, i) => [s.name, this.judged[i]?.best as number]),
            ),
          }
        : {}),
      beta,
      cost: { passes, flops: flops === null ? null : flops * passes },
      sets: Object.fromEntries(
        this.sets.map((s, i) => [s.name, this.judged[i]?.results[at] as Judged['results'][number]]),
      ),
      shiftMean:
        shifted.length === 0
          ? null
          : {
              accuracy: intervalOf(shiftOf(at), level),
              difference:
                at === reference
                  ? null
                  : intervalOf(difference(shiftOf(at), shiftOf(reference)), level),
            },
    };
  }

  curve(k: number, withGreedy: boolean): CurvePoint[] {
    if (k < 2 || !withGreedy) return [];
    const { level } = this;
    const of = (name: Curve, n: number) => {
      const each = this.judged.map((j) => j.curves[name][n - 1] as Judged['accuracy'][number]);
      const shifted = each.filter((_, s) => this.sets[s]?.role === 'shifted');
      return [...each, ...(shifted.length > 0 ? [meanOfDistributions(shifted)] : [])];
    };
    const names = [
      ...this.sets.map((s) => s.name),
      ...(this.shifted.length > 0 ? ['shiftMean'] : []),
    ];
    const named = (values: Interval[]) =>
      Object.fromEntries(values.map((v, i) => [names[i] as string, v]));
    return Array.from({ length: k }, (_, i): CurvePoint => {
      const n = i + 1;
      const [uniform, greedy, ensemble] = CURVES.map((name) => of(name, n)) as [
        ReturnType<typeof of>,
        ReturnType<typeof of>,
        ReturnType<typeof of>,
      ];
      const intervals = (all: ReturnType<typeof of>) => named(all.map((d) => intervalOf(d, level)));
      return {
        n,
        uniform: intervals(uniform),
        greedy: intervals(greedy),
        ensemble: intervals(ensemble),
        soupMinusEnsemble: named(
          uniform.map((u, s) =>
            intervalOf(difference(u, ensemble[s] as Judged['accuracy'][number]), level),
          ),
        ),
      };
    });
  }
}

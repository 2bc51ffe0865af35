import { showBytes } from '../bytes.js';
import type { Sources } from '../checkpoint/source_table.js';
import type { Checkpoint } from '../checkpoint/types.js';
import type { DataSet } from '../data/types.js';
import { StockpotError } from '../errors.js';
import { type Engine, processor, type Taken } from '../evaluate/engine.js';
import type { DeviceFeed, Feed } from '../evaluate/feed.js';
import { requireWeights } from '../evaluate/mix_into.js';
import type { Grouping } from '../merge/groups.js';
import type { Matched } from '../merge/match.js';
import { planTensors } from '../merge/plan.js';
import { STREAMING } from '../merge/residency.js';
import { resolveWeights, type Weighting } from '../merge/weights.js';
import { graphsOf, type Network } from '../models/graph.js';
import { resolveThreads } from '../threads.js';
import type {
  GradientOptions,
  Mix,
  MixGradient,
  ObjectiveOptions,
  OpenObjective,
} from './objective.js';
import { Pantry, type PantryTensor, pantryBytes, pantryTensor } from './pantry.js';
import { type LearningPlan, planLearning } from './plan.js';
import { Trainer } from './trainer.js';

/** What the objective is made of: as a session has it. */
export interface LearningScene {
  checkpoints: readonly Checkpoint[];
  matched: readonly Matched[];
  network: Network;
  data: DataSet;
  /** The data on a device. */
  feed?: DeviceFeed;
  /** What it is run on; the processor by default. */
  engine?: Engine;
}

/** The tensors of each group that the network reads, by the graphs' weights. */
function usedByGroup({ matched, network }: LearningScene, grouping: Grouping): Matched[][] {
  const names = new Set(graphsOf(network).flatMap((g) => g.weights.map((w) => w.name)));
  const groups: Matched[][] = grouping.names.map(() => []);
  for (const m of matched) {
    if (names.has(m.entries[0]?.name as string)) groups[grouping.indexOf(m.name)]?.push(m);
  }
  return groups;
}

/** @throws StockpotError MISMATCH where a weight of the network is left out of the soup */
function checkComplete({ network }: LearningScene, tensors: readonly Matched[]): void {
  const there = new Set(tensors.map((t) => t.entries[0]?.name));
  for (const graph of graphsOf(network)) {
    requireWeights(graph, there);
  }
}

/**
 * Counts the plan's memory as one of all the networks of this process.
 * @throws StockpotError MEMORY where others hold what it needs
 */
function holdMemory(plan: LearningPlan, memory: number | undefined, engine: Engine): Taken {
  const networks = engine.held();
  const limit = memory ?? engine.available() + networks;
  const held = engine.take(plan.memory, limit);
  if (held) return held;
  throw new StockpotError(
    'MEMORY',
    `out of memory: gradient steps need ${showBytes(plan.memory)} of ${showBytes(limit)}, of which other networks hold ${showBytes(networks)}`,
    { remedy: 'Lower --memory, or wait until the others are done.' },
  );
}

/**
 * Has the data on the device, where the plan leaves room: a step needs a batch of them, but all that it streams of the
 * ingredients.
 */
function placeData({ feed, engine }: LearningScene, plan: LearningPlan, run: ObjectiveOptions) {
  if (!feed || !engine) return;
  const { memory = Number.POSITIVE_INFINITY } = run;
  const streaming = plan.residence === 'memory' ? 0 : Math.min(STREAMING, plan.ingredientBytes);
  feed.place(Math.min(engine.available() - streaming, memory - plan.memory));
}

/** What gradient steps of this scene would hold and read. @throws StockpotError IO where they do not fit */
export const planObjective = (scene: LearningScene, options: ObjectiveOptions): LearningPlan =>
  planLearning({
    network: scene.network,
    groups: usedByGroup(scene, options.grouping).map((g) => pantryBytes(g.map(pantryTensor))),
    threads: resolveThreads(options.threads),
    examples: options.examples,
    memory: options.memory,
    batch: options.batch,
    engine: scene.engine,
  });

/**
 * The loss of a mix by one forward and one backward pass, and its derivatives by the coefficients,
 * d loss / d alpha_i = ⟨d loss / d θ, θ_i⟩, by one pass over the ingredients: exact, in memory that does not grow with
 * their number (the chain rule through θ = Σ alpha_i θ_i; Wortsman et al. 2022, appendix I, hold all of them instead).
 */
export class NativeObjective implements OpenObjective {
  /** The coefficients that are in the network, by group. */
  private readonly mixed: (Float64Array | undefined)[];
  private constructor(
    private readonly scene: LearningScene,
    private readonly options: ObjectiveOptions,
    readonly plan: LearningPlan,
    private readonly held: Taken,
    private readonly trainer: Trainer,
    private readonly pantry: Pantry,
    private readonly tensors: readonly Matched[][],
  ) {
    this.mixed = options.grouping.names.map(() => undefined);
  }

  /** @throws StockpotError */
  static async open(scene: LearningScene, options: ObjectiveOptions): Promise<NativeObjective> {
    const tensors = usedByGroup(scene, options.grouping);
    checkComplete(scene, tensors.flat());
    const plan = planObjective(scene, options);
    const { engine = processor } = scene;
    const held = holdMemory(plan, options.memory, engine);
    let trainer: Trainer | undefined;
    try {
      trainer = new Trainer(scene.network, plan.batch, plan.floats, options.threads, engine);
      const all = tensors.flat().map(pantryTensor);
      const pantry = await Pantry.open(scene.checkpoints, all, plan, options, engine);
      placeData(scene, plan, options);
      return new NativeObjective(scene, options, plan, held, trainer, pantry, tensors);
    } catch (e) {
      trainer?.close();
      held.release();
      throw e;
    }
  }

  get groups(): readonly string[] {
    return this.options.grouping.names;
  }

  private get feed(): Feed {
    return this.scene.feed ?? this.scene.data;
  }

  get count(): number {
    return this.scene.data.count;
  }

  get labels(): Int32Array {
    return this.scene.data.labels;
  }

  /** Logits [examples.length, classes] of a mix. */
  async logits(
    { alpha }: Mix,
    examples: Int32Array,
    { signal }: { signal?: AbortSignal },
  ): Promise<Float32Array> {
    await this.putMissing(alpha);
    return this.trainer.logits(this.feed, examples, signal);
  }

  async gradient(
    mix: Mix,
    examples: Int32Array,
    { signal, next }: GradientOptions,
  ): Promise<MixGradient> {
    await this.putMissing(mix.alpha);
    const { checkpoints } = this.scene;
    const k = checkpoints.length;
    const { loss, beta } = await this.trainer.differentiate(this.feed, examples, mix.beta, signal);
    const alpha: Float64Array[] = this.groups.map(() => new Float64Array(k));
    // A loss that is no number has no next mix.
    const step = Number.isFinite(loss) ? next : undefined;
    if (this.pantry.byGroup) {
      await this.eachGroup(async (g, held) => {
        alpha[g] = await this.dot(this.tensors[g] as Matched[], held);
        if (step) await this.put([g], [step(g, alpha[g] as Float64Array)], held);
      });
    } else {
      const flat = this.tensors.flat();
      const sums = await this.trainer.dot(flat.map(pantryTensor), k, this.pantry.all, this.options);
      let at = 0;
      this.tensors.forEach((its, g) => {
        alpha[g] = addUp(sums.slice(at, at + its.length), k);
        at += its.length;
      });
      if (step) {
        const rows = alpha.map((a, g) => step(g, a));
        await this.put([...rows.keys()], rows, this.pantry.all);
      }
    }
    return { loss, alpha, beta };
  }

  async close(): Promise<void> {
    try {
      await this.pantry.files.checkUnchanged();
    } finally {
      await this.pantry.close();
      this.trainer.close();
      this.held.release();
    }
  }

  private async dot(its: readonly Matched[], sources: Sources): Promise<Float64Array> {
    const k = this.scene.checkpoints.length;
    return addUp(await this.trainer.dot(its.map(pantryTensor), k, sources, this.options), k);
  }

  private eachGroup(work: (group: number, held: Sources) => Promise<void>): Promise<void> {
    return this.pantry.eachGroup(
      this.tensors.map((its) => its.map(pantryTensor)) as PantryTensor[][],
      work,
    );
  }

  /** Mixes the groups whose coefficients are not in the network yet. */
  private async putMissing(alpha: readonly Float64Array[]): Promise<void> {
    const missing = alpha.flatMap((row, g) =>
      this.mixed[g] && row.every((a, i) => a === this.mixed[g]?.[i]) ? [] : [g],
    );
    if (missing.length === 0) return;
    await this.put(
      missing,
      missing.map((g) => alpha[g] as Float64Array),
      this.pantry.all,
    );
  }

  private async put(
    groups: readonly number[],
    rows: readonly Float64Array[],
    sources: Sources,
  ): Promise<void> {
    const { checkpoints } = this.scene;
    const weighting = new Map<number, Weighting>(
      groups.map((g, i) => [g, resolveWeights(checkpoints.length, [...(rows[i] as Float64Array)])]),
    );
    const { grouping, dtype = 'keep' } = this.options;
    const tensors = planTensors(
      groups.flatMap((g) => this.tensors[g] as Matched[]),
      (name) => weighting.get(grouping.indexOf(name)) as Weighting,
      dtype,
    );
    for (const g of groups) this.mixed[g] = undefined;
    await this.trainer.put(checkpoints, tensors, sources, {
      ...this.options,
      memory: this.plan.buffers,
    });
    groups.forEach((g, i) => {
      this.mixed[g] = Float64Array.from(rows[i] as Float64Array);
    });
  }
}

function addUp(rows: readonly Float64Array[], k: number): Float64Array {
  const sum = new Float64Array(k);
  for (const row of rows)
    for (let i = 0; i < k; i++) sum[i] = (sum[i] as number) + (row[i] as number);
  return sum;
}

// One side of bench/networks.mjs: reads names of measurements from stdin and prints seconds, a line each.
//   node network_times.mjs FOLDER THREADS
import { createInterface } from 'node:readline';
import { NativeNetwork } from '../lib/evaluate/native_network.js';
import { Session } from '../lib/evaluate/session.js';
import { NativeObjective } from '../lib/learn/native_objective.js';
import { groupTensors } from '../lib/merge/groups.js';
import { planTensors } from '../lib/merge/plan.js';
import { resolveWeights } from '../lib/merge/weights.js';
import { native } from '../lib/native.js';
import { version } from '../lib/version.js';

const [folder = '', count = '2'] = process.argv.slice(2);
const threads = Number(count);

async function network(name: string, ingredients: number) {
  const paths = Array.from({ length: ingredients }, (_, i) => `${folder}/${name}/${i}`);
  const session = await Session.open(paths, { data: `${folder}/${name}.safetensors`, threads });
  return session;
}

const tiny = await network('tiny', 10);
const b32 = await network('b32', 1);
const one = async (session: Session, batch: number) => {
  const made = NativeNetwork.create(session.definition, { threads, batch });
  const weighting = resolveWeights(
    session.checkpoints.length,
    session.checkpoints.map((_, i) => Number(i === 0)),
  );
  await made.load(session.checkpoints, planTensors(session.matched, weighting, 'keep'));
  return made;
};
const tinyNetwork = await one(tiny, 128);
const b32Network = await one(b32, 32);
const first = (n: number) => Int32Array.from({ length: n }, (_, i) => i);

// The two passes alone, on one batch.
const { graph } = tiny.definition;
const { handle } = native().createNetwork(graph, 128, threads, '', Number.MAX_SAFE_INTEGER);
const inputs = await tiny.data.batch([...first(128)]);
const arrays = graph.inputs.map((i) => inputs[i.name] as Float32Array);
const out = new Float32Array(128 * tiny.numClasses);
const dout = out.map((_, i) => ((i % 7) - 3) / 1000);

const grouping = await groupTensors(tiny.checkpoints, tiny.matched, 'model');
const objective = await NativeObjective.open(
  {
    checkpoints: tiny.checkpoints,
    matched: tiny.matched,
    network: tiny.definition,
    data: tiny.data,
  },
  { threads, grouping, examples: 256 },
);
let alpha = [new Float64Array(10).fill(0.1)];
let turn = 0;

const work: Record<string, () => Promise<unknown>> = {
  'tiny forward': () => tinyNetwork.logits(tiny.data, first(128)),
  'b32 forward': () => b32Network.logits(b32.data, first(32)),
  'tiny forward alone': () => native().forward(handle, arrays, 128, out).promise,
  'tiny backward alone': () => native().backward(handle, arrays, 128, dout, true).promise,
  'learned step': async () => {
    // Another mix each time, as a step of AdamW would make it.
    const next = alpha.map((row) => row.map((a, i) => a + ((i + turn) % 3) * 1e-4));
    turn++;
    await objective.gradient({ alpha, beta: 1 }, first(256), {
      next: (g) => next[g] as Float64Array,
    });
    alpha = next;
  },
};

console.log(JSON.stringify({ stockpot: version, variant: tinyNetwork.variant }));
for await (const line of createInterface({ input: process.stdin })) {
  const began = performance.now();
  await work[line.trim()]?.();
  console.log((performance.now() - began) / 1000);
}
process.exit(0);

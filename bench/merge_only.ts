// The merge without its output's write and hash: what the reading and the arithmetic take. Prints seconds as JSON.
import { openCheckpoint } from '../lib/checkpoint/open.js';
import { execute } from '../lib/merge/execute.js';
import { matchTensors } from '../lib/merge/match.js';
import { planTensors } from '../lib/merge/plan.js';
import { resolveWeights } from '../lib/merge/weights.js';

const paths = process.argv.slice(2);
const checkpoints = await Promise.all(paths.map((p) => openCheckpoint(p)));
const { tensors: matched } = await matchTensors(checkpoints);
const tensors = planTensors(matched, resolveWeights(checkpoints.length), 'keep');
const began = performance.now();
const { bytesRead } = await execute(checkpoints, [{ name: '', tensors }], {
  sink: 'discard',
  outputs: [{ fd: -1, prefix: new Uint8Array(), path: '' }],
});
console.log(JSON.stringify({ bytesRead, seconds: (performance.now() - began) / 1000 }));

// One job: what the journal keeps of it, and what the API says.
import { randomUUID } from 'node:crypto';

export const now = () => new Date().toISOString();

export const isOver = ({ state }) =>
  state === 'done' || state === 'failed' || state === 'cancelled';

/**
 * @param request follows the schema
 * @param {string} digest of the request
 * @param {string | null} key with which a client may ask again
 * @param {number} sequence rises with each job
 */
export const newJob = (request, digest, key, sequence) => ({
  version: 1,
  id: randomUUID(),
  sequence,
  state: 'queued',
  request,
  digest,
  key,
  created: now(),
  started: null,
  finished: null,
  /** How often it was started; how many of these starts the process did not survive. */
  starts: 0,
  crashes: 0,
  /** Whether it runs when nothing else does only. */
  alone: false,
  cancel: false,
  sha256: null,
  files: [],
  error: null,
});

/** As the API shows it. @param {number} ttl milliseconds that it stays when it is over */
export function showJob(job, ttl) {
  const { id, state, request, created, started, finished, starts, sha256, files, error } = job;
  const expires = finished && new Date(Date.parse(finished) + ttl).toISOString();
  const { progress, step } = job.live;
  const when = { created, started, finished, expires };
  return { id, state, request, ...when, starts, progress, step, sha256, files, error };
}

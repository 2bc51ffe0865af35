// The queue: which jobs there are, which of them run, and what becomes of them.
import { createHash } from 'node:crypto';
import { readdir, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { StockpotError } from 'stockpot';
import { EventLog } from './events.js';
import { isOver, newJob, now, showJob } from './job.js';
import { writeWhole } from './journal.js';
import { describeError, Refusal } from './problem.js';
import { Turns } from './turns.js';

/** Requests that are checked at the same time: each reads headers of all its ingredients. */
const CHECKS = 2;
/** Milliseconds between two events of progress. */
const TICK = 250;

export class Jobs {
  /** By id, in the order of their submission: what the journal has, and `live`. */
  #jobs = new Map();
  /** Jobs by idempotency key; promises while they are submitted. */
  #keys = new Map();
  #running = new Map();
  /** Requests that are no jobs yet: they are being checked, or wait for it. */
  #checking = 0;
  #checks = new Turns(CHECKS);
  #sequence = 0;
  #timer;
  draining = false;
  log = console;
  /** Told of each job that is over, and what the library returned; and of each that was not taken. */
  onEnd = (_job, _soup) => {};
  onRefuse = (_code) => {};

  /**
   * @param settings of readSettings
   * @param {import('./journal.js').Journal} journal
   * @param {{ check(request): Promise<void>, make(request, folder, hooks): Promise<object> }} kitchen
   */
  constructor(settings, journal, kitchen) {
    this.settings = settings;
    this.journal = journal;
    this.kitchen = kitchen;
  }

  /** Takes up what an earlier process left: what was queued or running is queued. */
  async open() {
    for (const job of await this.journal.open(this.log)) {
      this.#sequence = Math.max(this.#sequence, job.sequence);
      this.#add(job);
      if (isOver(job)) {
        job.live.events.end();
        continue;
      }
      if (job.state === 'running') job.crashes++;
      // Which of those that ran at the same time is it?
      if (job.crashes > 1) job.alone = true;
      job.state = 'queued';
      if (job.cancel) await this.#end(job, 'cancelled');
      else if (job.crashes >= this.settings.attempts) {
        const message = `the service ended ${job.crashes} times while this job ran`;
        await this.#end(job, 'failed', { code: 'CRASHED', message });
      } else await this.#write(job);
    }
    this.#timer = setInterval(() => this.expire(), Math.min(this.settings.ttl, 60_000));
    this.#timer.unref();
    await this.expire();
    this.#start();
  }

  #add(job) {
    // `live` is not enumerable: it is no part of the journal.
    const live = { events: new EventLog(), progress: null, step: null };
    Object.defineProperty(job, 'live', { value: live });
    this.#jobs.set(job.id, job);
    if (job.key !== null) this.#keys.set(job.key, Promise.resolve(job));
  }

  get(id) {
    const job = this.#jobs.get(id);
    if (!job) throw new Refusal(404, 'NO_JOB', `there is no job ${id}`);
    return job;
  }

  /** Newest first. */
  list({ state, limit, before }) {
    const from = [...this.#jobs.values()]
      .filter(
        (j) =>
          (state === undefined || j.state === state) &&
          j.sequence < (before ?? Number.POSITIVE_INFINITY),
      )
      .sort((a, b) => b.sequence - a.sequence);
    const jobs = from.slice(0, limit);
    return { jobs, next: from.length > limit ? jobs.at(-1).sequence : null };
  }

  count(state) {
    let n = 0;
    for (const job of this.#jobs.values()) if (job.state === state) n++;
    return n;
  }

  #refuse(status, code, detail, more) {
    this.onRefuse(code);
    return new Refusal(status, code, detail, more);
  }

  /**
   * A job that is on the disk when this resolves.
   * @param {object} request follows the schema
   * @param {string | null} key with which a client may ask again without making a second job
   * @returns {Promise<{ job: { id: string }, fresh: boolean }>}
   */
  async submit(request, key = null) {
    const digest = createHash('sha256').update(JSON.stringify(request)).digest('hex');
    const known = key === null ? undefined : this.#keys.get(key);
    if (known) {
      const job = await known;
      if (job.digest === digest) return { job, fresh: false };
      throw this.#refuse(409, 'IDEMPOTENCY', 'this Idempotency-Key was used for another request');
    }
    const made = this.#submit(request, digest, key);
    if (key !== null) {
      this.#keys.set(key, made);
      made.catch(() => this.#keys.delete(key));
    }
    return { job: await made, fresh: true };
  }

  async #submit(request, digest, key) {
    if (this.draining) throw this.#refuse(503, 'STOPPING', 'the service is shutting down');
    if (
      this.count('queued') + this.#checking >=
      this.settings.queue + this.settings.concurrency - this.#running.size
    )
      throw this.#refuse(429, 'QUEUE_FULL', `${this.settings.queue} jobs are waiting already`, {
        remedy: 'Try again later.',
      });
    this.#checking++;
    try {
      await this.#checks.run(() => this.kitchen.check(request));
      const job = newJob(request, digest, key, ++this.#sequence);
      await this.journal.write(job).catch(async (e) => {
        // Not taken: nothing stays.
        await this.journal.remove(job.id).catch(() => {});
        throw e;
      });
      this.#add(job);
      // After the answer; and what a service that stops meanwhile has accepted, the next one will do.
      setImmediate(() => this.#start());
      return job;
    } finally {
      this.#checking--;
    }
  }

  /** Starts as many as may run. */
  #start() {
    if (this.draining) return;
    for (const job of this.#jobs.values()) {
      if (job.state !== 'queued' || job.cancel) continue;
      const others = [...this.#running.values()];
      if (others.length >= this.settings.concurrency) return;
      // Nothing overtakes a job that waits to be alone.
      if (others.some((j) => j.alone) || (job.alone && others.length > 0)) return;
      this.#running.set(job.id, job);
      job.state = 'running';
      job.live.shared = others.length > 0;
      // They had the memory to themselves until now.
      for (const other of others) other.live.shared = true;
      job.live.over = this.#run(job).catch((e) => this.log.error({ err: e, id: job.id }, 'job'));
    }
  }

  async #run(job) {
    const { live } = job;
    live.controller = new AbortController();
    let outcome;
    try {
      job.starts++;
      job.started = now();
      this.#changed(job);
      await this.#write(job);
      const folder = this.journal.folderOf(job.id);
      let last = 0;
      const soup = await this.kitchen.make(job.request, folder, {
        signal: live.controller.signal,
        onProgress: (progress) => {
          live.progress = progress;
          const time = performance.now();
          if (time - last < TICK) return;
          last = time;
          live.events.add('progress', JSON.stringify(progress));
        },
        onStep: (step) => {
          live.step = step;
          live.events.add('step', JSON.stringify(step));
        },
      });
      const { output: _, ...result } = soup;
      await writeWhole(folder, 'result.json', `${JSON.stringify(result)}\n`);
      outcome = { state: 'done', soup, files: await filesBelow(join(folder, 'soup')) };
    } catch (e) {
      outcome = this.#judge(job, e);
    }
    this.#running.delete(job.id);
    try {
      if (outcome.state === 'queued') {
        job.state = 'queued';
        this.#changed(job);
        await this.#write(job);
      } else {
        job.files = outcome.files ?? [];
        job.sha256 = outcome.soup?.sha256 ?? null;
        await this.#end(job, outcome.state, outcome.error, outcome.soup);
      }
    } finally {
      this.#start();
    }
  }

  #judge(job, e) {
    const aborted = e instanceof StockpotError && e.code === 'ABORTED';
    if (job.cancel && aborted) return { state: 'cancelled' };
    if (this.draining && aborted) return { state: 'queued' };
    // Others had the memory: once more, when nothing else runs.
    if (e instanceof StockpotError && e.code === 'MEMORY' && job.live.shared && !job.alone) {
      job.alone = true;
      return { state: 'queued' };
    }
    const error = describeError(e);
    if (error.code === 'INTERNAL') this.log.error({ err: e, id: job.id }, 'job failed');
    return { state: 'failed', error };
  }

  async #end(job, state, error = null, soup = undefined) {
    const folder = this.journal.folderOf(job.id);
    // What a resumption would need, and of a job that failed all.
    for (const name of state === 'done' ? ['state'] : ['state', 'soup'])
      await rm(join(folder, name), { recursive: true, force: true });
    const ended = { ...job, state, error, finished: now() };
    // Nobody is told before the disk knows.
    await this.#write(ended);
    Object.assign(job, ended);
    this.#changed(job);
    job.live.events.end();
    this.onEnd(job, soup);
    this.log.info({ id: job.id, state, code: error?.code }, 'job ended');
    await this.#removeSurplus();
  }

  /** A journal that cannot be written makes the job run again after a restart; it is not lost. */
  async #write(job) {
    await this.journal.write(job).catch((e) => this.log.error({ err: e, id: job.id }, 'journal'));
  }

  #changed(job) {
    const { event, data } = this.eventOf(job);
    job.live.events.add(event, data);
  }

  /** The event that says how a job is. */
  eventOf(job) {
    return { event: isOver(job) ? 'end' : 'state', data: JSON.stringify(this.show(job)) };
  }

  /** As the API shows it. */
  show(job) {
    return showJob(job, this.settings.ttl);
  }

  /** Resolves when the job is over, however it went. @throws Refusal 409 where it was over before */
  async cancel(id) {
    const job = this.get(id);
    if (isOver(job)) {
      if (job.state === 'cancelled') return job;
      throw new Refusal(409, 'OVER', `the job is ${job.state} already`);
    }
    // On the disk first: a service that is killed now does not run it again.
    job.cancel = true;
    await this.#write(job);
    job.live.controller?.abort();
    await job.live.over;
    // Two that cancel at the same time: the first does it.
    if (job.state === 'queued') job.live.ending ??= this.#end(job, 'cancelled');
    await job.live.ending;
    return job;
  }

  /** Removes a job and its files; one that is not over is cancelled. */
  async remove(id) {
    const job = this.get(id);
    if (!isOver(job)) await this.cancel(id);
    // Two at the same time: the first does it.
    if (!this.#jobs.delete(id)) return;
    if (job.key !== null) this.#keys.delete(job.key);
    job.live.events.end();
    await this.journal.remove(id);
  }

  /** Removes what is older than may be. */
  async expire() {
    const oldest = Date.now() - this.settings.ttl;
    for (const job of [...this.#jobs.values()])
      if (isOver(job) && Date.parse(job.finished) <= oldest) await this.#drop(job);
  }

  async #removeSurplus() {
    const over = [...this.#jobs.values()].filter((j) => isOver(j));
    for (const job of over.slice(0, Math.max(0, over.length - this.settings.keep)))
      await this.#drop(job);
  }

  #drop(job) {
    return this.remove(job.id).catch((e) => this.log.error({ err: e, id: job.id }, 'removal'));
  }

  /** Takes no more jobs, and stops those that run so that the next process goes on with them. */
  async drain() {
    this.draining = true;
    clearInterval(this.#timer);
    const running = [...this.#running.values()];
    for (const job of running) job.live.controller?.abort();
    await Promise.all(running.map((job) => job.live.over));
  }
}

/** Names, with /, and sizes of all files below a folder. */
async function filesBelow(folder) {
  const entries = await readdir(folder, { recursive: true, withFileTypes: true });
  const files = [];
  for (const entry of entries) {
    if (!entry.isFile()) continue;
    const path = join(entry.parentPath ?? entry.path, entry.name);
    files.push({ name: path.slice(folder.length + 1), size: (await stat(path)).size });
  }
  return files.sort((a, b) => (a.name < b.name ? -1 : 1));
}

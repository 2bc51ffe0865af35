// Prometheus metrics of the service and of its process.
import { Counter, collectDefaultMetrics, Gauge, Histogram, Registry } from 'prom-client';
import { memoryHeld } from 'stockpot';
import { STATES } from './schemas.js';

export class Metrics {
  registry = new Registry();

  /** @param {() => import('./jobs.js').Jobs | undefined} jobs @param {() => number} streams open event streams */
  constructor(jobs, streams) {
    const registers = [this.registry];
    collectDefaultMetrics({ register: this.registry });
    const gauge = (name, help, collect, labelNames = []) =>
      new Gauge({
        name,
        help,
        labelNames,
        registers,
        collect() {
          collect(this);
        },
      });
    gauge(
      'soups_jobs',
      'Jobs that are kept, by state',
      (g) => {
        for (const state of STATES) g.set({ state }, jobs()?.count(state) ?? 0);
      },
      ['state'],
    );
    gauge('soups_queue_length', 'Jobs that wait', (g) => g.set(jobs()?.count('queued') ?? 0));
    gauge('soups_event_streams', 'Open streams of events', (g) => g.set(streams()));
    gauge(
      'soups_native_memory_bytes',
      "Memory that stockpot's jobs and networks hold",
      (g) => {
        for (const [kind, bytes] of Object.entries(memoryHeld())) g.set({ kind }, bytes);
      },
      ['kind'],
    );
    const bytes = (name, help) => new Counter({ name, help, registers });
    this.read = bytes('soups_read_bytes_total', 'Tensor data that finished jobs read');
    this.written = bytes('soups_written_bytes_total', 'Weights that finished jobs wrote');
    this.refused = new Counter({
      name: 'soups_refused_total',
      help: 'Jobs that were not taken',
      labelNames: ['code'],
      registers,
    });
    this.seconds = new Histogram({
      name: 'soups_job_duration_seconds',
      help: 'From the last start of a job to its end',
      labelNames: ['recipe', 'state'],
      buckets: [0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30, 100, 300, 1000, 3600, 4 * 3600],
      registers,
    });
  }

  /** @param job that is over @param soup what the library returned, where it is done */
  ended(job, soup) {
    const { recipe } = job.request;
    if (job.started !== null)
      this.seconds.observe(
        { recipe, state: job.state },
        (Date.parse(job.finished) - Date.parse(job.started)) / 1000,
      );
    this.read.inc(soup?.bytesRead ?? 0);
    this.written.inc(soup?.bytesWritten ?? 0);
  }
}

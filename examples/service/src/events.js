// What happens to a job, as server-sent events that can be resumed.
import { randomBytes } from 'node:crypto';

/** Numbers of events begin anew with each process, and their ids say so. */
const BOOT = randomBytes(4).toString('hex');
/** Events of a job that a client that was away may catch up on; who was away longer gets the job's state. */
const KEPT = 256;

export class EventLog {
  #entries = [];
  #waiting = new Set();
  last = 0;
  ended = false;

  /** @param {string} event @param {string} data one line */
  add(event, data) {
    this.last++;
    const entry = { id: this.last, event, data };
    // Of progress only the newest counts.
    const newest = this.#entries.at(-1);
    if (event === 'progress' && newest?.event === 'progress') this.#entries.pop();
    this.#entries.push(entry);
    if (this.#entries.length > KEPT) this.#entries.shift();
    this.#wake();
  }

  /** Nothing more comes. */
  end() {
    this.ended = true;
    this.#wake();
  }

  /** Of a job that is over, the state says it all. */
  forget() {
    this.#entries = [];
  }

  /** Events after a position; null where some of them are gone. */
  after(position) {
    const first = this.#entries.find((e) => e.id > position);
    const kept =
      position === this.last || (this.#entries[0]?.id ?? Number.POSITIVE_INFINITY) <= position + 1;
    // Where progress took progress's place, nothing is missing.
    if (!kept && !(first?.event === 'progress' && first === this.#entries[0])) return null;
    return this.#entries.filter((e) => e.id > position);
  }

  /** Until there is more, or the time is over, or the signal comes. */
  wait(milliseconds, signal) {
    return new Promise((resolve) => {
      const done = () => {
        clearTimeout(timer);
        signal.removeEventListener('abort', done);
        this.#waiting.delete(done);
        resolve();
      };
      const timer = setTimeout(done, milliseconds);
      signal.addEventListener('abort', done);
      this.#waiting.add(done);
      if (signal.aborted || this.ended) done();
    });
  }

  #wake() {
    for (const done of [...this.#waiting]) done();
  }
}

const show = (id, event, data) => `id: ${BOOT}-${id}\nevent: ${event}\ndata: ${data}\n\n`;

/** Where a client stopped that sends this Last-Event-ID; null: not known. */
export function positionOf(log, lastEventId) {
  const [, boot, id] = /^([0-9a-f]{8})-(\d{1,15})$/.exec(lastEventId ?? '') ?? [];
  return boot === BOOT && Number(id) <= log.last ? Number(id) : null;
}

/**
 * The text of a stream of events: what came after `position`, or first the state as it is.
 * @param {() => { event: string, data: string }} state
 * @param {{ heartbeat: number, signal: AbortSignal }} options
 */
export async function* stream(log, position, state, { heartbeat, signal }) {
  yield 'retry: 1000\n\n';
  let at = position;
  while (!signal.aborted) {
    const events = at === null ? null : log.after(at);
    if (events === null) {
      at = log.last;
      const { event, data } = state();
      yield show(at, event, data);
    } else if (events.length > 0) {
      at = events.at(-1).id;
      yield events.map((e) => show(e.id, e.event, e.data)).join('');
    } else if (log.ended) return;
    else {
      await log.wait(heartbeat, signal);
      if (!signal.aborted && log.last === at && !log.ended) yield ': heartbeat\n\n';
    }
  }
}

import { closeSync } from 'node:fs';
import { Socket } from 'node:net';
import { finished, Writable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import type { SoupRecord } from '../checkpoint/record.js';
import { safetensorsHeader } from '../checkpoint/safetensors.js';
import type { Checkpoint } from '../checkpoint/types.js';
import { StockpotError } from '../errors.js';
import { splitIntoShards } from '../merge/shards.js';
import { native } from '../native.js';
import type { Prepared } from './prepare.js';
import { metadataOf } from './record.js';
import { run } from './run.js';
import type { RecipeOptions } from './soup.js';

/** Streams one safetensors file through a pipe, whose filling holds the native writer back. */
export async function toStream(
  output: Writable,
  prepared: Prepared,
  record: SoupRecord,
  options: RecipeOptions,
) {
  const shards = splitIntoShards(prepared.tensors, Number.POSITIVE_INFINITY);
  const prefix = safetensorsHeader(
    prepared.tensors,
    metadataOf(prepared.checkpoints[0] as Checkpoint, record),
  );
  const [readEnd, writeEnd] = native().pipe();
  const from = new Socket({ fd: readEnd, readable: true, writable: false });
  const stop = new AbortController();
  const signal = options.signal ? AbortSignal.any([options.signal, stop.signal]) : stop.signal;
  let writing = true;
  let streamError: Error | undefined;
  // Listens to the end, so that an error of the stream, at whatever time, is never an uncaught one.
  const ended = new Promise<void>((resolve) => {
    finished(output, { readable: false }, (error) => {
      if (error || writing) {
        streamError = error ?? new Error('it was ended before the soup was');
        stop.abort();
      }
      resolve();
    });
    signal.addEventListener('abort', () => resolve());
  });
  // Closing the pipe also frees a writer that waits for a stream that no longer takes anything.
  const close = () => from.destroy();
  signal.addEventListener('abort', close);
  // A refused soup must not end the stream as if it were whole: the pipe's end is only passed on when all is well.
  const sink = new Writable({
    write: (chunk, _encoding, next) => {
      if (output.write(chunk)) next();
      else output.once('drain', next);
    },
  });
  const piped = pipeline(from, sink).catch(() => {}); // whoever closed the pipe knows why
  try {
    const { result, warnings } = await run(
      prepared,
      shards,
      [{ fd: writeEnd, prefix, path: 'the output stream' }],
      'pipe',
      { ...options, signal },
    );
    closeSync(writeEnd);
    writing = false;
    await piped;
    if (!signal.aborted) output.end();
    await ended;
    if (signal.aborted) throw signal.reason;
    return { result, warnings };
  } catch (cause) {
    if (writing) closeSync(writeEnd);
    writing = false;
    from.destroy();
    const error = options.signal?.aborted
      ? new StockpotError('ABORTED', 'aborted')
      : streamError
        ? new StockpotError('IO', `the output stream failed: ${streamError.message}`, {
            cause: streamError,
          })
        : (cause as Error);
    output.destroy(error);
    throw error;
  } finally {
    signal.removeEventListener('abort', close);
  }
}

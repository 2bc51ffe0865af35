import { createReadStream } from 'node:fs';
import { fileError } from '../../checkpoint/system_error.js';
import { StockpotError } from '../../errors.js';

/** A line of a text file, numbered from 1, without its line feed. */
export interface Line {
  number: number;
  text: string;
  /** Bytes of the file up to its end. */
  end: number;
  /** Whether the bytes are UTF-8; `text` has replacement characters where not. */
  valid: boolean;
}

/** No line of labelled text is longer. */
const LONGEST = 2 ** 26;
const LINE_FEED = 10;

/**
 * The lines of a file in UTF-8, with a byte order mark or without. Lines end at line feeds only: other separators may be
 * part of a text. A carriage return before the line feed is left to the caller.
 * @throws StockpotError NOT_FOUND, IO; FORMAT for what is no text
 */
export async function* linesOf(path: string, signal?: AbortSignal): AsyncGenerator<Line> {
  let number = 0;
  let end = 0;
  let rest: Buffer[] = [];
  let held = 0;
  const take = (last: Buffer): Line => {
    const bytes = rest.length === 0 ? last : Buffer.concat([...rest, last]);
    rest = [];
    held = 0;
    end += bytes.length;
    number++;
    return decode(path, bytes, number, end);
  };
  const file = createReadStream(path, { highWaterMark: 2 ** 20, signal });
  try {
    for await (const part of file) {
      const chunk = part as Buffer;
      let from = 0;
      for (let at = chunk.indexOf(LINE_FEED); at >= 0; at = chunk.indexOf(LINE_FEED, from)) {
        yield take(chunk.subarray(from, at));
        end++;
        from = at + 1;
      }
      rest.push(chunk.subarray(from));
      held += chunk.length - from;
      if (held > LONGEST)
        throw refused(path, `line ${number + 1} has more than ${LONGEST} bytes: this is no text`);
    }
    if (held > 0) yield take(Buffer.alloc(0));
  } catch (cause) {
    if (cause instanceof StockpotError) throw cause;
    if (signal?.aborted) throw new StockpotError('ABORTED', 'aborted');
    throw fileError(path, cause);
  } finally {
    file.destroy();
  }
}

const strict = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

function decode(path: string, bytes: Buffer, number: number, end: number): Line {
  if (number === 1) refuseOther(path, bytes);
  const marked = number === 1 && bytes[0] === 0xef && bytes[1] === 0xbb && bytes[2] === 0xbf;
  const own = marked ? bytes.subarray(3) : bytes;
  try {
    return { number, end, text: strict.decode(own), valid: true };
  } catch {
    return { number, end, text: own.toString('utf8'), valid: false };
  }
}

/** Files of other kinds that are often found under such a name. */
function refuseOther(path: string, first: Buffer): void {
  const begins = first.toString('latin1', 0, 64);
  if (begins.startsWith('version https://git-lfs'))
    throw refused(path, 'is a Git LFS pointer, not the data', 'Run: git lfs pull');
  const wide = [0, 1].some((odd) => [0, 2, 4, 6].every((i) => begins[i + odd] === '\0'));
  if (begins.startsWith('\xff\xfe') || begins.startsWith('\xfe\xff') || wide)
    throw refused(path, 'is written in UTF-16', 'Save it as UTF-8.');
  if (['PAR1', 'PK\x03\x04', '\x1f\x8b'].some((magic) => begins.startsWith(magic)))
    throw refused(path, 'is a compressed or binary file', 'Unpack it first.');
  if (/^\s*<(!doctype|html)/i.test(begins)) throw refused(path, 'is a web page, not the data');
}

const refused = (path: string, why: string, remedy = 'Fetch or save it again.') =>
  new StockpotError('FORMAT', `${path}: ${why}`, { file: path, remedy });

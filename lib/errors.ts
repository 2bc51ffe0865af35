/** What kind of thing went wrong; stable, so that programs can branch on it. */
export type ErrorCode =
  /** An option or argument is wrong; the command line exits with 2. */
  | 'USAGE'
  /** A file or folder is missing, unreadable, or not what its name says. */
  | 'NOT_FOUND'
  | 'IO'
  /** A file's bytes do not follow its format. */
  | 'FORMAT'
  /** The file is valid, but is something stockpot does not read (quantised, legacy pickle, …). */
  | 'UNSUPPORTED'
  /** The ingredients do not fit together. */
  | 'MISMATCH'
  /** NaN or infinity in an input. */
  | 'NONFINITE'
  /** A finite mean that the output's dtype cannot hold. */
  | 'OVERFLOW'
  /** A file changed or shrank while it was read. */
  | 'CHANGED'
  /** The output exists, is an input, or is being written by another run. */
  | 'OUTPUT'
  /** Not enough room on the disk. */
  | 'NO_SPACE'
  /** Not enough memory for what was asked. */
  | 'MEMORY'
  /** `verify` found that the soup is not what its record says. */
  | 'VERIFY'
  /** A user's function or program that evaluates soups failed, or gave nothing that can be used. */
  | 'EVALUATOR'
  /** Aborted by an AbortSignal or a signal of the operating system. */
  | 'ABORTED'
  /** The native addon is missing or does not load; or a device is not usable. */
  | 'NATIVE'
  | 'DEVICE';

/** One finding among several, e.g. one mismatching tensor. */
export interface Mismatch {
  file?: string;
  tensor?: string;
  message: string;
}

/** What a {@link StockpotError} knows beside its code and message. */
export interface ErrorInfo {
  /** Path of the file that is at fault, as it was given. */
  file?: string;
  /** Name of the tensor that is at fault. */
  tensor?: string;
  /** Every finding, when there are several. */
  details?: Mismatch[];
  /** What the user can do about it; one sentence. */
  remedy?: string;
  cause?: unknown;
}

/** Most characters of a message: names and values out of files may be of any length. */
const LONGEST = 8000;

const LINE_ENDS: Readonly<Record<string, string>> = {
  '\n': '\\n',
  '\r': '\\r',
  '\u2028': '\\u2028',
  '\u2029': '\\u2029',
};

/** Names out of files may hold line ends, too. */
function oneLine(message: string): string {
  const short = message.length > LONGEST ? `${message.slice(0, LONGEST)}…` : message;
  return short.replace(/[\n\r\u2028\u2029]/g, (c) => LINE_ENDS[c] as string);
}

/**
 * Every failure that stockpot reports on purpose. `message` is one line that names file and tensor,
 * what was expected and what was found.
 */
export class StockpotError extends Error {
  readonly code: ErrorCode;
  readonly file: string | undefined;
  readonly tensor: string | undefined;
  readonly details: Mismatch[];
  readonly remedy: string | undefined;

  constructor(code: ErrorCode, message: string, info: ErrorInfo = {}) {
    super(oneLine(message), info.cause === undefined ? undefined : { cause: info.cause });
    this.name = 'StockpotError';
    this.code = code;
    this.file = info.file;
    this.tensor = info.tensor;
    this.details = info.details ?? [];
    this.remedy = info.remedy;
  }
}

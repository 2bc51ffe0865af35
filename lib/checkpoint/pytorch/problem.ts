import { type ErrorCode, StockpotError } from '../../errors.js';

/** What to do about a damaged file. */
export const GET_AGAIN = 'download or save it again';

/**
 * What is wrong with a pickle, thrown where the file's path is not known; `at` puts the path in.
 */
export class Problem extends Error {
  constructor(
    readonly code: ErrorCode,
    message: string,
    readonly remedy: string | undefined = code === 'FORMAT' ? GET_AGAIN : undefined,
  ) {
    super(message);
  }

  /** The same as an error that names the file. */
  at(file: string): StockpotError {
    return new StockpotError(this.code, `${file}: ${this.message}`, { file, remedy: this.remedy });
  }
}

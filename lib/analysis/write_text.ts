import { AtomicOutput } from '../checkpoint/output.js';

export interface WriteOptions {
  overwrite?: boolean;
  /** Paths that are never replaced. */
  inputs?: readonly string[];
}

const rules = ({ overwrite, inputs = [] }: WriteOptions) => ({ overwrite, inputs, isFile: true });

/**
 * Refuses what must not be written, before the work is done.
 * @throws StockpotError OUTPUT, USAGE
 */
export const checkTextOutput = (path: string, options: WriteOptions = {}): Promise<void> =>
  AtomicOutput.check(path, rules(options));

/**
 * Writes a text file that appears whole or not at all; missing parents are made.
 * @throws StockpotError OUTPUT, USAGE, IO, NO_SPACE
 */
export async function writeText(
  path: string,
  text: string,
  options: WriteOptions = {},
): Promise<void> {
  const target = await AtomicOutput.begin(path, rules(options));
  try {
    await target.writeParts('', [Buffer.from(text)]);
    await target.commit();
  } finally {
    await target.abandon();
  }
}

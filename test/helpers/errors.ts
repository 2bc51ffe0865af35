import { expect } from 'vitest';
import { type ErrorCode, StockpotError } from '../../lib/index.js';

/** The failure of a call, which must be a StockpotError of this code whose message is one line. */
export async function failure(call: Promise<unknown>, code: ErrorCode): Promise<StockpotError> {
  const error: unknown = await call.then(
    () => new Error('expected a failure, but the call succeeded'),
    (e) => e,
  );
  if (!(error instanceof StockpotError)) throw error;
  expect(error.code, error.message).toBe(code);
  expect(error.message).not.toContain('\n');
  return error;
}

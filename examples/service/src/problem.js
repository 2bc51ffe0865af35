// Failures as application/problem+json (RFC 9457).
import { STATUS_CODES } from 'node:http';
import { StockpotError } from 'stockpot';

/** What is the service's own doing, beside stockpot's error codes. */
export class Refusal extends Error {
  /** @param {number} status @param {string} code @param {string} detail @param {object} [more] extension members */
  constructor(status, code, detail, more = {}) {
    super(detail);
    this.status = status;
    this.code = code;
    this.more = more;
  }
}

/** HTTP statuses of stockpot's error codes; the others are faults of what was asked for: 422. */
const STATUS = { MEMORY: 503, ABORTED: 503, NO_SPACE: 507, IO: 500, NATIVE: 500, OUTPUT: 500 };

/** An error of the system about the disk that the journal lies on. */
const isFull = (e) => ['ENOSPC', 'EDQUOT'].includes(e.code);

/** What went wrong, as it is kept with a job and put into problems. */
export function describeError(e) {
  if (e instanceof Refusal) return { code: e.code, message: e.message, ...e.more };
  if (isFull(e)) return { code: 'NO_SPACE', message: 'the disk is full' };
  if (!(e instanceof StockpotError))
    return { code: 'INTERNAL', message: 'an unexpected error; the log has it' };
  const { code, message, file, tensor, details, remedy } = e;
  // Absent rather than undefined: it goes into a file and comes back the same.
  return JSON.parse(
    JSON.stringify({
      code,
      message,
      file,
      tensor,
      details: details.length > 0 ? details : undefined,
      remedy,
    }),
  );
}

const problem = (status, { code, message, ...more }) => ({
  type: `urn:problem-type:stockpot:${code.toLowerCase().replaceAll('_', '-')}`,
  title: STATUS_CODES[status],
  status,
  detail: message,
  code,
  ...more,
});

/** @returns {object} the problem of any error that a handler threw */
export function problemOf(e) {
  if (e instanceof Refusal) return problem(e.status, describeError(e));
  if (e instanceof StockpotError) return problem(STATUS[e.code] ?? 422, describeError(e));
  if (isFull(e)) return problem(STATUS.NO_SPACE, describeError(e));
  if (e.validation) {
    const errors = e.validation.map((v) => ({
      pointer: `${e.validationContext === 'body' ? '#' : e.validationContext}${v.instancePath}`,
      message: `${v.message}${v.params?.additionalProperty ? `: ${v.params.additionalProperty}` : ''}${v.params?.allowedValues ? `: ${v.params.allowedValues.join(', ')}` : ''}`,
    }));
    return problem(400, {
      code: 'INVALID',
      message: errors.map((x) => `${x.pointer} ${x.message}`).join('; '),
      errors,
    });
  }
  const status = e.statusCode;
  if (status >= 400 && status < 500)
    return problem(status, {
      code: e.code?.startsWith('FST_') ? 'INVALID' : (e.code ?? 'INVALID'),
      message: e.message,
    });
  return problem(500, describeError(e));
}

export const PROBLEM = 'application/problem+json';

export const sendProblem = (reply, body) =>
  reply.code(body.status).type(PROBLEM).send(JSON.stringify(body));

import { isObject } from '../checkpoint/json.js';

/** Says where a value is not of the shape that is expected, or null where it is. */
export type Shape = (value: unknown, at: string) => string | null;

const expected = (what: string, at: string): string => `expected ${what} at ${at}`;

export const text: Shape = (v, at) => (typeof v === 'string' ? null : expected('a string', at));

/** A number, or null: what JSON has for NaN. */
export const number: Shape = (v, at) =>
  v === null || typeof v === 'number' ? null : expected('a number', at);

export const count: Shape = (v, at) =>
  Number.isSafeInteger(v) && (v as number) >= 0 ? null : expected('a whole number', at);

export const flag: Shape = (v, at) =>
  typeof v === 'boolean' ? null : expected('true or false', at);

export const oneOf =
  (...values: readonly string[]): Shape =>
  (v, at) =>
    values.includes(v as string) ? null : expected(`one of ${values.join(', ')}`, at);

export const orNull =
  (shape: Shape): Shape =>
  (v, at) =>
    v === null ? null : shape(v, at);

export const optional =
  (shape: Shape): Shape =>
  (v, at) =>
    v === undefined ? null : shape(v, at);

export const list =
  (shape: Shape): Shape =>
  (v, at) => {
    if (!Array.isArray(v)) return expected('a list', at);
    for (const [i, x] of v.entries()) {
      const wrong = shape(x, `${at}[${i}]`);
      if (wrong) return wrong;
    }
    return null;
  };

/** An object with these fields; others may be there. */
export const object =
  (fields: Readonly<Record<string, Shape>>): Shape =>
  (v, at) => {
    if (!isObject(v)) return expected('an object', at);
    for (const [name, shape] of Object.entries(fields)) {
      const wrong = shape(
        Object.hasOwn(v, name) ? v[name] : undefined,
        at ? `${at}.${name}` : name,
      );
      if (wrong) return wrong;
    }
    return null;
  };

/** An object whose values are all of one shape. */
export const record =
  (shape: Shape): Shape =>
  (v, at) => {
    if (!isObject(v)) return expected('an object', at);
    for (const [name, x] of Object.entries(v)) {
      const wrong = shape(x, `${at}.${name}`);
      if (wrong) return wrong;
    }
    return null;
  };

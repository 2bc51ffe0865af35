// The service's settings, from environment variables. What is wrong is refused at the start, with its name.
import { accessSync, constants, readFileSync, realpathSync, statSync } from 'node:fs';
import { delimiter, isAbsolute } from 'node:path';

export class SettingError extends Error {}

const UNITS = { '': 1, B: 1, KB: 1e3, MB: 1e6, GB: 1e9, KIB: 2 ** 10, MIB: 2 ** 20, GIB: 2 ** 30 };

function integer(text, least) {
  const n = Number(text);
  if (!/^\d+$/.test(text) || !Number.isSafeInteger(n) || n < least)
    throw new SettingError(`expected a whole number of at least ${least}`);
  return n;
}

function bytes(text) {
  const [, number, unit] = /^([\d.]+)\s*([a-z]*)$/i.exec(text) ?? [];
  const n = Math.floor(Number(number) * UNITS[(unit ?? '').toUpperCase()]);
  if (!Number.isSafeInteger(n) || n < 1)
    throw new SettingError('expected a size such as 4GB or 512MiB');
  return n;
}

function seconds(text) {
  const n = Number(text);
  if (text.trim() === '' || !Number.isFinite(n) || n <= 0 || n > 1e9)
    throw new SettingError('expected a number of seconds above 0');
  return n * 1000;
}

function roots(text) {
  return text.split(delimiter).map((path) => {
    if (!isAbsolute(path))
      throw new SettingError(`expected absolute folders but received "${path}"`);
    if (!statSync(path).isDirectory()) throw new SettingError(`"${path}" is not a folder`);
    accessSync(path, constants.R_OK | constants.X_OK);
    return { path: path.replace(/(.)\/+$/, '$1'), real: realpathSync(path) };
  });
}

const token = (text) => {
  if (!/^[\w.~+/-]{16,}=*$/.test(text))
    throw new SettingError('expected at least 16 letters, digits or any of -._~+/');
  return text;
};

const tokens = (path) =>
  readFileSync(path, 'utf8')
    .split('\n')
    .map((s) => s.trim())
    .filter(Boolean)
    .map(token);

/** Name, field, how it is read, default. The README has a table of them, which a test compares with this. */
export const SETTINGS = [
  ['SOUPS_ROOTS', 'roots', roots, undefined],
  ['SOUPS_DATA', 'data', String, undefined],
  ['SOUPS_TOKEN', 'token', token, ''],
  ['SOUPS_TOKENS_FILE', 'tokensFile', tokens, ''],
  ['SOUPS_HOST', 'host', String, '127.0.0.1'],
  ['SOUPS_PORT', 'port', (t) => integer(t, 0), '8080'],
  ['SOUPS_CONCURRENCY', 'concurrency', (t) => integer(t, 1), '2'],
  ['SOUPS_QUEUE', 'queue', (t) => integer(t, 0), '100'],
  ['SOUPS_MEMORY', 'memory', bytes, '1GiB'],
  ['SOUPS_THREADS', 'threads', (t) => integer(t, 1), ''],
  ['SOUPS_DEVICE', 'device', String, 'cpu'],
  ['SOUPS_MAX_INGREDIENTS', 'maxIngredients', (t) => integer(t, 1), '100'],
  ['SOUPS_MAX_BYTES', 'maxBytes', bytes, '1000GB'],
  ['SOUPS_MAX_BODY', 'maxBody', bytes, '256KiB'],
  ['SOUPS_MAX_STREAMS', 'maxStreams', (t) => integer(t, 1), '200'],
  ['SOUPS_RATE', 'rate', (t) => integer(t, 1), '600'],
  ['SOUPS_ATTEMPTS', 'attempts', (t) => integer(t, 1), '5'],
  ['SOUPS_TTL', 'ttl', seconds, '604800'],
  ['SOUPS_KEEP', 'keep', (t) => integer(t, 1), '1000'],
  ['SOUPS_HEARTBEAT', 'heartbeat', seconds, '15'],
  ['SOUPS_GRACE', 'grace', seconds, '10'],
  ['SOUPS_LOG', 'log', String, 'info'],
];

/** @throws SettingError that names the variable */
export function readSettings(env) {
  const known = new Set(SETTINGS.map(([name]) => name));
  for (const name of Object.keys(env)) {
    if (name.startsWith('SOUPS_') && !known.has(name))
      throw new SettingError(
        `${name}: there is no such setting (there are ${[...known].join(', ')})`,
      );
  }
  const found = {};
  for (const [name, field, read, initial] of SETTINGS) {
    const text = env[name] || initial;
    if (text === undefined) throw new SettingError(`${name}: must be set`);
    try {
      if (text !== '') found[field] = read(text);
    } catch (e) {
      throw new SettingError(`${name}: ${e.message}`);
    }
  }
  const { token: one, tokensFile: more = [], ...settings } = found;
  const all = [...(one ? [one] : []), ...more];
  if (all.length === 0)
    throw new SettingError('SOUPS_TOKEN or SOUPS_TOKENS_FILE: one of them must be set');
  return { ...settings, tokens: all };
}

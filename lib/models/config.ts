import { dirname, join } from 'node:path';
import { isObject, parseJsonStrict } from '../checkpoint/json.js';
import { statOrRefuse } from '../checkpoint/open.js';
import { readSmallFile, readSmallFileIfThere } from '../checkpoint/small_file.js';
import { StockpotError } from '../errors.js';
import type { Activation } from './graph.js';

/** As transformers and timm, and as open_clip, name it. */
const NAMES = ['config.json', 'open_clip_config.json'];

/**
 * The config that says which network a checkpoint is: `config.json` beside the weights, or the file that the user names.
 * @param path the checkpoint: a file or a folder
 * @throws StockpotError NOT_FOUND, IO, FORMAT
 */
export async function findConfig(path: string, configOption?: string): Promise<unknown> {
  if (configOption !== undefined) return parse(configOption, await readSmallFile(configOption));
  const folder = (await statOrRefuse(path)).isDirectory() ? path : dirname(path);
  for (const name of NAMES) {
    const file = join(folder, name);
    const text = await readSmallFileIfThere(file);
    if (text !== undefined) return parse(file, text);
  }
  throw new StockpotError('NOT_FOUND', `${path}: there is no config.json beside the weights`, {
    file: path,
    remedy:
      'Name the network’s config with --config FILE (transformers, timm or open_clip layout).',
  });
}

function parse(file: string, text: string): unknown {
  let value: unknown;
  try {
    value = parseJsonStrict(text);
  } catch (e) {
    throw new StockpotError('FORMAT', `${file}: not valid JSON: ${(e as Error).message}`, { file });
  }
  if (!isObject(value)) {
    throw new StockpotError('FORMAT', `${file}: expected a JSON object`, { file });
  }
  return value;
}

/** A config's entries, each checked as it is read. An entry that is null counts as absent, as in Python's libraries. */
export class Config {
  /**
   * @param path of the checkpoint, for messages
   * @param place of these entries in the config, ending in a dot; empty for all of it
   */
  constructor(
    private readonly entries: Readonly<Record<string, unknown>>,
    private readonly path: string,
    private readonly place = '',
  ) {}

  has(key: string): boolean {
    return Object.hasOwn(this.entries, key) && this.entries[key] !== null;
  }

  keys(): string[] {
    return Object.keys(this.entries).filter((key) => this.has(key));
  }

  /** The entry as it is; undefined where there is none. */
  raw(key: string): unknown {
    return this.has(key) ? this.entries[key] : undefined;
  }

  integer(key: string, otherwise?: number): number {
    const value = this.raw(key) ?? otherwise;
    if (typeof value === 'number' && Number.isSafeInteger(value) && value >= 0) return value;
    throw this.refuse(key, 'a whole number that is not negative');
  }

  positive(key: string, otherwise?: number): number {
    const value = this.integer(key, otherwise);
    if (value > 0) return value;
    throw this.refuse(key, 'a whole number above 0');
  }

  real(key: string, otherwise?: number): number {
    const value = this.raw(key) ?? otherwise;
    if (typeof value === 'number') return value;
    throw this.refuse(key, 'a number');
  }

  flag(key: string, otherwise: boolean): boolean {
    const value = this.raw(key) ?? otherwise;
    if (typeof value === 'boolean') return value;
    throw this.refuse(key, 'true or false');
  }

  text(key: string, otherwise?: string): string {
    const value = this.raw(key) ?? otherwise;
    if (typeof value === 'string') return value;
    throw this.refuse(key, 'a string');
  }

  texts(key: string): string[] {
    const value = this.raw(key) ?? [];
    if (Array.isArray(value) && value.every((v) => typeof v === 'string')) return value;
    throw this.refuse(key, 'a list of strings');
  }

  /** A size in pixels: a number, or height and width. */
  size(key: string, otherwise?: readonly [number, number]): [number, number] {
    const value = this.raw(key) ?? otherwise;
    const pair: unknown[] = Array.isArray(value) ? value : [value, value];
    const [height, width] = pair;
    const good = (n: unknown): n is number => Number.isSafeInteger(n) && (n as number) > 0;
    if (pair.length === 2 && good(height) && good(width)) return [height, width];
    throw this.refuse(key, 'a size in pixels, or height and width');
  }

  /** The entries of an object in the config; none where it is absent. */
  section(key: string): Config {
    const value = this.raw(key) ?? {};
    if (!isObject(value)) throw this.refuse(key, 'an object');
    return new Config(value, this.path, `${this.place}${key}.`);
  }

  /** These entries, replaced by those of `over` where it has them. */
  overriddenBy(over: Config): Config {
    return new Config({ ...this.entries, ...over.entries }, this.path, this.place);
  }

  /** The name of an activation. */
  activation(key: string, otherwise: string): Activation {
    const name = this.text(key, otherwise);
    const known = activationNamed(name);
    if (known !== undefined) return known;
    throw this.unsupported(`the activation ${key} "${name}"`);
  }

  /** The config asks for something that stockpot cannot run. */
  unsupported(what: string): StockpotError {
    return new StockpotError(
      'UNSUPPORTED',
      `${this.path}: its config asks for ${what}, which stockpot does not run`,
      {
        file: this.path,
        remedy: REMEDY,
      },
    );
  }

  private refuse(key: string, expected: string): StockpotError {
    const found = this.has(key) ? JSON.stringify(this.entries[key])?.slice(0, 80) : 'nothing';
    return new StockpotError(
      'FORMAT',
      `${this.path}: expected ${expected} for ${this.place}${key} in the config but found ${found}`,
      {
        file: this.path,
        remedy: 'Give the config that belongs to the checkpoint with --config FILE.',
      },
    );
  }
}

/** What to do about a network that the engine does not run. */
export const REMEDY =
  'Run it through --graph FILE.onnx or --evaluate COMMAND, or give the config that belongs to it with --config FILE.';

/** By transformers' names (`ACT2FN` in activations.py) and timm's (create_act.py). */
export const activationNamed = (name: string): Activation | undefined =>
  Object.hasOwn(ACTIVATIONS, name) ? ACTIVATIONS[name] : undefined;

const ACTIVATIONS: Readonly<Record<string, Activation>> = {
  gelu: 'gelu',
  gelu_python: 'gelu',
  gelu_new: 'gelu_tanh',
  gelu_fast: 'gelu_tanh',
  gelu_tanh: 'gelu_tanh',
  gelu_pytorch_tanh: 'gelu_tanh',
  quick_gelu: 'quick_gelu',
  relu: 'relu',
  silu: 'silu',
  swish: 'silu',
  tanh: 'tanh',
};

import { dirname, join } from 'node:path';
import { isObject, parseJsonStrict } from '../checkpoint/json.js';
import { statOrRefuse } from '../checkpoint/open.js';
import { readSmallFile } from '../checkpoint/small_file.js';
import { StockpotError } from '../errors.js';

/** A JSON configuration whose values are checked as they are taken. Every refusal names the file. */
export class Config {
  constructor(
    readonly file: string,
    private readonly values: Record<string, unknown>,
    private readonly path = '',
  ) {}

  /** @throws StockpotError NOT_FOUND, IO, FORMAT */
  static async read(file: string): Promise<Config> {
    const text = await readSmallFile(file);
    let value: unknown;
    try {
      value = parseJsonStrict(text);
    } catch (e) {
      throw new StockpotError('FORMAT', `${file}: is not valid JSON: ${(e as Error).message}`, {
        file,
        remedy: 'Fetch or save it again.',
      });
    }
    if (isObject(value)) return new Config(file, value);
    throw new StockpotError('FORMAT', `${file}: expected a JSON object`, { file });
  }

  /** Null where there is no such file. @throws StockpotError IO, FORMAT */
  static async readIfThere(file: string): Promise<Config | null> {
    return Config.read(file).catch((error) => {
      if (error instanceof StockpotError && error.code === 'NOT_FOUND') return null;
      throw error;
    });
  }

  refuse(key: string, expected: string, code: 'FORMAT' | 'UNSUPPORTED' = 'FORMAT'): StockpotError {
    const found = JSON.stringify(this.values[key]) ?? 'nothing';
    return new StockpotError(
      code,
      `${this.file}: expected ${this.path}${key} to be ${expected} but found ${found}`,
      { file: this.file },
    );
  }

  has(key: string): boolean {
    return this.values[key] !== undefined && this.values[key] !== null;
  }

  object(key: string): Config | null {
    const v = this.values[key];
    return isObject(v) ? new Config(this.file, v, `${this.path}${key}.`) : null;
  }

  /** Entries of this object whose values are strings. */
  strings(): Map<string, string> {
    const out = new Map<string, string>();
    for (const [k, v] of Object.entries(this.values)) if (typeof v === 'string') out.set(k, v);
    return out;
  }

  /** Entries of this object whose values are numbers. */
  numbers(): [string, number][] {
    return Object.entries(this.values).filter(
      (e): e is [string, number] => typeof e[1] === 'number',
    );
  }

  /** Null where there is no list. */
  list(key: string): readonly unknown[] | null {
    const v = this.values[key];
    return Array.isArray(v) ? v : null;
  }

  flag(key: string, otherwise: boolean): boolean {
    const v = this.values[key] ?? otherwise;
    if (typeof v !== 'boolean') throw this.refuse(key, 'true or false');
    return v;
  }

  text(key: string, otherwise: string): string {
    const v = this.values[key] ?? otherwise;
    if (typeof v !== 'string') throw this.refuse(key, 'a string');
    return v;
  }

  number(key: string, otherwise: number): number {
    const v = this.values[key] ?? otherwise;
    if (typeof v !== 'number' || !Number.isFinite(v)) throw this.refuse(key, 'a number');
    return v;
  }

  /** A number of pixels. */
  size(key: string): number {
    const v = this.values[key];
    if (!isSize(v)) throw this.refuse(key, 'a number of pixels');
    return v;
  }

  /** One number a colour channel; one for all is repeated. */
  colours(key: string, otherwise: readonly number[]): readonly number[] {
    const v = this.values[key] ?? otherwise;
    const list = Array.isArray(v) ? v : [v];
    if (!list.every((x) => typeof x === 'number' && Number.isFinite(x)))
      throw this.refuse(key, 'three numbers');
    if (list.length === 1) return Array(3).fill(list[0]);
    if (list.length !== 3)
      throw this.refuse(key, 'three numbers, for red, green and blue', 'UNSUPPORTED');
    return list;
  }

  sizes(key: string): number[] | null {
    const v = this.values[key];
    return Array.isArray(v) && v.every(isSize) ? v : null;
  }
}

const isSize = (v: unknown): v is number =>
  Number.isInteger(v) && (v as number) > 0 && (v as number) <= 65536;

/** The folder of a model: itself, or the one its file lies in. */
export async function folderOf(model: string): Promise<string> {
  const info = await statOrRefuse(model);
  return info.isDirectory() ? model : dirname(model);
}

/** The classes that a network's config names (transformers: `id2label`, or `label2id`), by class. */
export async function classNamesOf(model: string, config?: string): Promise<string[] | undefined> {
  const file = config ?? join(await folderOf(model), 'config.json');
  const c = config === undefined ? await Config.readIfThere(file) : await Config.read(file);
  const named = c?.object('id2label')?.strings();
  const names = named?.size
    ? [...named]
    : c
        ?.object('label2id')
        ?.numbers()
        .map(([n, id]) => [`${id}`, n]);
  if (!names?.length) return undefined;
  const out: string[] = [];
  for (const [id = '', name = ''] of names) {
    if (!/^\d{1,7}$/.test(id)) return undefined;
    out[Number(id)] = name;
  }
  return out.length === names.length && !out.includes(undefined as never) ? out : undefined;
}

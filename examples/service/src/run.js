// From a request to stockpot's calls.
import { join } from 'node:path';
import { greedy, learned, nativeEvaluator, openCheckpoint, uniform } from 'stockpot';
import { Refusal } from './problem.js';
import { PATH_OPTIONS } from './schemas.js';

/** stockpot counts shards of data itself, after the paths were judged. */
const BRACES = /[{}]/;

export class Kitchen {
  /** @param settings of readSettings @param {import('./paths.js').Roots} roots */
  constructor(settings, roots) {
    this.settings = settings;
    this.roots = roots;
  }

  /** What the library takes, with every path under the roots. */
  async #resolve({ recipe, ingredients, ...options }) {
    for (const name of PATH_OPTIONS) {
      const value = options[name];
      if (value === undefined) continue;
      if ([value].flat().some((p) => BRACES.test(p)))
        throw new Refusal(422, 'USAGE', `${name}: name each file; braces are not taken here`);
      options[name] = Array.isArray(value)
        ? await inTurn(value, (p) => this.roots.resolve(p))
        : await this.roots.resolve(value);
    }
    return {
      recipe,
      ingredients: await inTurn(ingredients, (p) => this.roots.resolve(p)),
      options,
    };
  }

  get #run() {
    const { threads, memory, device } = this.settings;
    return { threads, memory, device };
  }

  /**
   * Refuses at once what can be refused without reading tensors: paths, formats, sizes, ingredients that do not fit.
   * @throws Refusal, StockpotError
   */
  async check(request) {
    const { maxIngredients, maxBytes } = this.settings;
    const count = request.ingredients.length;
    if (count > maxIngredients)
      throw new Refusal(
        413,
        'TOO_MANY',
        `${count} ingredients, but a job may have ${maxIngredients}`,
      );
    const { ingredients, options } = await this.#resolve(request);
    const opened = await inTurn(ingredients, (p) => openCheckpoint(p, { key: options.key }));
    for (const { path, files } of opened)
      for (const file of files) if (file.path !== path) await this.roots.resolve(file.path);
    const bytes = opened.flatMap((c) => c.files).reduce((sum, f) => sum + f.size, 0);
    if (bytes > maxBytes)
      throw new Refusal(
        413,
        'TOO_LARGE',
        `the ingredients have ${bytes} bytes, but a job may read ${maxBytes}`,
      );
    const output = join(this.settings.data, 'no such output');
    await uniform(opened, output, { ...forSoup(options), ...this.#run, dryRun: true });
  }

  /**
   * Makes the soup.
   * @param {string} folder gets soup/ and, while it is being made, state/
   * @param {{ signal: AbortSignal, onProgress: Function, onStep: Function }} hooks
   */
  async make(request, folder, hooks) {
    const { recipe, ingredients, options } = await this.#resolve(request);
    const output = join(folder, 'soup');
    const { signal, onProgress, onStep } = hooks;
    // What a killed service left is replaced: by the same bytes.
    const how = { ...this.#run, signal, onProgress, overwrite: true };
    if (recipe === 'uniform') return uniform(ingredients, output, { ...options, ...how });
    const { data, config, tokenizer, labelWords, columns, skipBad, ...rest } = options;
    const evaluator = await nativeEvaluator(ingredients, {
      ...{ data, config, tokenizer, labelWords, columns, skipBad },
      ...pick(rest, ['key', 'dtype', 'include', 'exclude']),
      ...how,
    });
    try {
      const make = recipe === 'greedy' ? greedy : learned;
      const resume = join(folder, 'state');
      return await make(ingredients, output, { ...rest, ...how, evaluator, resume, onStep });
    } finally {
      await evaluator.close();
    }
  }
}

const pick = (from, names) =>
  Object.fromEntries(names.filter((n) => n in from).map((n) => [n, from[n]]));

/** The options of a soup of any recipe. */
const forSoup = (options) =>
  pick(options, [
    ...['weights', 'normalize', 'dtype', 'include', 'exclude', 'key', 'like', 'maxShardSize'],
    ...['allowNonfinite', 'allowOverflow'],
  ]);

async function inTurn(values, call) {
  const results = [];
  for (const v of values) results.push(await call(v));
  return results;
}

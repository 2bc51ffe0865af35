import { Problem } from './problem.js';
import { show } from './show.js';
import { Tensor, Tuple, UnreadableTensor, type Value } from './values.js';

/**
 * Which dict of a checkpoint holds the weights (behaviour 14). Training scripts wrap the state dict in a dict
 * of their own, beside the optimizer and other things.
 */

/** Where weights usually lie, the likeliest first: plain weights before their moving averages. */
const USUAL_KEYS = [
  'state_dict',
  'model',
  'model_state_dict',
  'module',
  'model_ema',
  'state_dict_ema',
  'ema_state_dict',
  'ema',
  'net',
  'network',
  'params',
  'weights',
];

/** What holds tensors that are no weights. */
const NEVER = /optim|sched|scaler|^amp|rng|random|loss|metric|criterion|callback/i;

/** How deep, how far and how many dicts are looked for in order to name them in a message. */
const MAX_DEPTH = 3;
const MAX_VISITED = 1000;
const MAX_LISTED = 20;

type Dict = Map<Value, Value>;

export interface Choice {
  readonly weights: Dict;
  /** Dotted path of the dict, or undefined when it is the top one. */
  readonly key?: string;
  /** Other dicts that seem to hold weights, as dotted paths. */
  readonly others: readonly string[];
}

export const isTensor = (value: Value): value is Tensor | UnreadableTensor =>
  value instanceof Tensor || value instanceof UnreadableTensor;

const tensorCount = (dict: Dict): number => {
  let count = 0;
  for (const [name, value] of dict) if (typeof name === 'string' && isTensor(value)) count += 1;
  return count;
};

/** Whether a dict is a state dict: more than half of its values are tensors. */
const isStateDict = (value: Value | undefined): value is Dict =>
  value instanceof Map && 2 * tensorCount(value) > value.size;

const holdsTensors = (value: Value | undefined): value is Dict =>
  value instanceof Map && tensorCount(value) > 0;

interface Found {
  readonly key: string;
  readonly dict: Dict;
}

const join = (prefix: string, key: string): string => (prefix === '' ? key : `${prefix}.${key}`);

/** The state dicts below `top`, breadth first; dicts that contain themselves are visited once. */
function stateDictsBelow(top: Dict): Found[] {
  const found: Found[] = [];
  const seen = new Set<Dict>([top]);
  let level: Found[] = [{ key: '', dict: top }];
  for (let depth = 0; depth < MAX_DEPTH && level.length > 0; depth++) {
    const next: Found[] = [];
    for (const parent of level) {
      for (const [name, value] of parent.dict) {
        if (typeof name !== 'string' || !(value instanceof Map) || NEVER.test(name)) continue;
        if (seen.has(value) || seen.size > MAX_VISITED) continue;
        seen.add(value);
        const child = { key: join(parent.key, name), dict: value };
        if (isStateDict(value)) found.push(child);
        else next.push(child);
      }
    }
    level = next;
  }
  return found;
}

/** The likeliest dict that `accepts`, under the usual keys; under one of them, once more. */
function usual(top: Dict, accepts: (value: Value | undefined) => value is Dict): Found | undefined {
  for (const key of USUAL_KEYS) {
    const value = top.get(key);
    if (accepts(value)) return { key, dict: value };
    if (!(value instanceof Map)) continue;
    for (const inner of USUAL_KEYS) {
      const dict = value.get(inner);
      if (accepts(dict)) return { key: `${key}.${inner}`, dict };
    }
  }
  return undefined;
}

/** The value at a dotted path; keys may have dots themselves. */
function follow(top: Value, path: string): Value | undefined {
  if (!(top instanceof Map)) return undefined;
  if (top.has(path)) return top.get(path);
  for (let dot = path.indexOf('.'); dot >= 0; dot = path.indexOf('.', dot + 1)) {
    const child = top.get(path.slice(0, dot));
    const value = child === undefined ? undefined : follow(child, path.slice(dot + 1));
    if (value !== undefined) return value;
  }
  return undefined;
}

const list = (found: readonly Found[]): string =>
  found
    .slice(0, MAX_LISTED)
    .map(({ key }) => show(key))
    .join(', ');

const keysOf = (found: readonly Found[], taken?: Dict): string[] =>
  found
    .filter(({ dict }) => dict !== taken)
    .slice(0, MAX_LISTED)
    .map(({ key }) => key);

function chooseByKey(top: Dict, key: string): Choice {
  const value = follow(top, key);
  const below = stateDictsBelow(top);
  if (holdsTensors(value)) {
    return { weights: value, key, others: keysOf(below, value) };
  }
  const wrong = value === undefined ? 'no such key' : 'something without tensors there';
  const has =
    below.length > 0
      ? `weights are under ${list(below)}`
      : holdsTensors(top)
        ? 'weights are at the top, without a key'
        : 'no dict in the file holds tensors';
  throw new Problem(
    'USAGE',
    `expected a dict of tensors under the key ${show(key)}, found ${wrong}; ${has}`,
    below.length > 0 ? 'choose one of them with --key' : 'leave --key out',
  );
}

function nameless(top: Value): string {
  if (isTensor(top)) return 'a tensor without a name';
  return Array.isArray(top) || top instanceof Tuple ? 'a list' : 'a single value';
}

/**
 * Chooses the dict with the weights.
 *
 * @param key - the dotted path that the user asked for
 * @throws {Problem} USAGE for a key that does not lead to weights, or when several dicts could be meant;
 *   UNSUPPORTED when there are no weights
 */
export function chooseWeights(top: Value, key?: string): Choice {
  if (!(top instanceof Map)) {
    throw new Problem(
      'UNSUPPORTED',
      `expected a dict of tensors, found ${nameless(top)}`,
      'save a state dict: torch.save(model.state_dict(), FILE)',
    );
  }
  if (key !== undefined) return chooseByKey(top, key);

  const below = stateDictsBelow(top);
  if (isStateDict(top)) return { weights: top, others: keysOf(below) };
  const likely = usual(top, isStateDict) ?? (below.length === 1 ? below[0] : undefined);
  if (likely) return { weights: likely.dict, key: likely.key, others: keysOf(below, likely.dict) };
  if (below.length > 1) {
    throw new Problem(
      'USAGE',
      `expected one dict of weights, found several: ${list(below)}`,
      'choose one of them with --key',
    );
  }
  // No dict is mostly tensors: one that has some will do.
  const mixed = usual(top, holdsTensors);
  if (mixed) return { weights: mixed.dict, key: mixed.key, others: [] };
  if (holdsTensors(top)) return { weights: top, others: [] };
  throw new Problem(
    'UNSUPPORTED',
    'expected a dict of tensors, found none in the file',
    'save a state dict: torch.save(model.state_dict(), FILE)',
  );
}

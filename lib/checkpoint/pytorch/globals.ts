import { ELEMENT_TYPES, type ElementType, STORAGE_TYPES } from './element_type.js';
import type { Resolver } from './pickle.js';
import { Problem } from './problem.js';
import { REBUILDERS } from './rebuild.js';
import { show } from './show.js';
import { Global, Opaque, Storage, Tuple, type Value } from './values.js';

/**
 * The globals that a checkpoint may name (behaviour 19): what tensors are made of, and plain containers and
 * values that people save beside them. Whatever is not here is refused. Adding one is safe as long as its
 * `make` does nothing but build a Value.
 */

/** A type of which only its presence matters. */
const opaque = (name: string): Global => new Global(name, () => new Opaque(name));

/** A type that is only ever mentioned, e.g. as a defaultdict's factory or a subclass's base. */
const mentioned = (name: string): Global => new Global(name);

const badCall = (name: string, found: string): Problem =>
  new Problem('FORMAT', `expected a valid call of ${name}, found ${found}`);

/**
 * A kind of dict, from nothing or from a dict. That dict is used itself: copies would let a small pickle that
 * names one large dict many times ask for any amount of memory.
 */
const dictType = (name: string, argument = 0): Global =>
  new Global(name, (args) => {
    const initial = args[argument] ?? new Map<Value, Value>();
    if (initial instanceof Map) return initial;
    throw badCall(name, 'an argument that is no dict');
  });

const size = new Global('torch.Size', ([first]) => {
  if (first instanceof Tuple || Array.isArray(first)) return first;
  throw badCall('torch.Size', 'an argument that is no tuple');
});

const BUILTINS: readonly Global[] = [
  dictType('builtins.dict'),
  ...['set', 'frozenset', 'bytearray', 'bytes', 'complex', 'slice', 'range'].map((name) =>
    opaque(`builtins.${name}`),
  ),
  ...['list', 'tuple', 'int', 'float', 'str', 'bool', 'object'].map((name) =>
    mentioned(`builtins.${name}`),
  ),
];

const CONTAINERS: readonly Global[] = [
  dictType('collections.OrderedDict'),
  dictType('collections.Counter'),
  // Its first argument is the factory for missing keys.
  dictType('collections.defaultdict', 1),
  // Its items follow as those of a list do.
  new Global('collections.deque', () => []),
];

const PLAIN_OBJECTS: readonly Global[] = [
  ...['argparse.Namespace', 'types.SimpleNamespace'],
  ...['date', 'datetime', 'time', 'timedelta', 'timezone'].map((name) => `datetime.${name}`),
  ...['pathlib', 'pathlib._local'].flatMap((module) =>
    ['Path', 'PosixPath', 'WindowsPath', 'PurePath', 'PurePosixPath', 'PureWindowsPath'].map(
      (name) => `${module}.${name}`,
    ),
  ),
  // How protocol 2 writes bytes.
  '_codecs.encode',
].map(opaque);

const NUMPY: readonly Global[] = [
  ...['numpy.core', 'numpy._core'].flatMap((core) => [
    `${core}.multiarray.scalar`,
    `${core}.multiarray._reconstruct`,
    `${core}.numeric._frombuffer`,
  ]),
  'numpy.dtype',
  'numpy.ndarray',
  // A dtype is pickled by its own class's name where numpy ≥ 1.20 made one.
  ...['Float64', 'Float32', 'Float16', 'Int64', 'Int32', 'UInt8', 'Bool'].map(
    (name) => `numpy.dtypes.${name}DType`,
  ),
  ...['float64', 'float32', 'float16', 'int64', 'int32', 'int16', 'int8', 'uint8', 'bool_'].map(
    (name) => `numpy.${name}`,
  ),
].map(opaque);

const TORCH: readonly Global[] = [
  size,
  opaque('torch.device'),
  opaque('torch.serialization._get_layout'),
  ...[
    'torch.Tensor',
    'torch.nn.parameter.Parameter',
    'torch.nn.parameter.Buffer',
    'torch.storage.TypedStorage',
  ].map(mentioned),
  ...[
    'per_tensor_affine',
    'per_tensor_symmetric',
    'per_channel_affine',
    'per_channel_symmetric',
    'per_channel_affine_float_qparams',
  ].map((name) => mentioned(`torch.${name}`)),
];

const ALLOWED: ReadonlyMap<string, Value> = new Map<string, Value>([
  ...[...BUILTINS, ...CONTAINERS, ...PLAIN_OBJECTS, ...NUMPY, ...TORCH, ...REBUILDERS].map(
    (global): [string, Value] => [global.name, global],
  ),
  ...[...ELEMENT_TYPES].map(([name, type]): [string, Value] => [`torch.${name}`, type]),
]);

/** `torch.FloatStorage` and its like, whatever module they are named in. */
const STORAGE_CLASS = /^torch(?:\.cuda|\.storage)?\._?([A-Za-z0-9]+)Storage$/;

/** A storage's class, as a persistent id names it. */
class StorageClass extends Global {
  constructor(
    name: string,
    readonly elements: ElementType,
  ) {
    super(name);
  }
}

function storageClass(fullName: string): Value | undefined {
  const prefix = STORAGE_CLASS.exec(fullName)?.[1];
  const elements = ELEMENT_TYPES.get(STORAGE_TYPES.get(prefix ?? '') ?? '');
  return elements && new StorageClass(fullName, elements);
}

function global(module: string, name: string): Value {
  // Python 2's name of the module, which protocol 2 still writes.
  const fullName = `${module === '__builtin__' ? 'builtins' : module}.${name}`;
  const value = ALLOWED.get(fullName) ?? storageClass(fullName);
  if (value !== undefined) return value;
  throw new Problem(
    'UNSUPPORTED',
    `expected only tensors and plain values, found the global ${show(fullName)} in the pickle; it is not loaded, as that could run code`,
    're-save only the weights, with torch.save(model.state_dict(), FILE) or as safetensors',
  );
}

function persistent(id: Value): Value {
  if (id instanceof Tuple && id.items[0] === 'storage') {
    const [, type, key, , count] = id.items;
    if (
      type instanceof StorageClass &&
      typeof key === 'string' &&
      typeof count === 'number' &&
      Number.isSafeInteger(count) &&
      count >= 0
    ) {
      return new Storage(key, type.elements, count);
    }
  }
  throw new Problem('FORMAT', 'expected only storages as persistent ids, found something else');
}

/** What torch.save's pickles may name. */
export const torchGlobals: Resolver = { global, persistent };

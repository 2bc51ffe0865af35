import type { ElementType } from './element_type.js';

/**
 * What a pickle can hold here. Dicts are Maps and never plain objects, so that a key such as `__proto__`
 * is a key like any other; lists are arrays. Containers may contain themselves.
 */
export type Value =
  | null
  | boolean
  | number
  | bigint
  | string
  | Uint8Array
  | Value[]
  | Map<Value, Value>
  | Set<Value>
  | Tuple
  | Global
  | Opaque
  | ElementType
  | Storage
  | Tensor
  | UnreadableTensor;

export class Tuple {
  constructor(readonly items: readonly Value[]) {}
}

/**
 * A class or function that a pickle may name. Nothing of it is Python: `make` is our own code, and what has
 * none cannot be called, only mentioned.
 */
export class Global {
  constructor(
    /** `module.name` */
    readonly name: string,
    readonly make?: (args: readonly Value[]) => Value,
  ) {}
}

/** An object beside the weights that is of no interest here, such as a numpy scalar: only its type is kept. */
export class Opaque {
  constructor(readonly type: string) {}
}

/** A storage's persistent id: which entry of the archive holds it, and how long it says it is. */
export class Storage {
  constructor(
    readonly key: string,
    /** Type of its elements; bytes for an untyped storage. */
    readonly elements: ElementType,
    /** Number of elements that the pickle claims; not to be trusted. */
    readonly count: number,
  ) {}
}

/**
 * A view into a storage, as the pickle claims it. Its numbers stay as they were found until the tensor is
 * taken: then there is a name to report, and a pickle that shares one tuple among a million tensors costs little.
 */
export class Tensor {
  constructor(
    readonly storage: Storage,
    readonly elements: ElementType,
    /** In elements. */
    readonly storageOffset: Value,
    readonly shape: Value,
    /** In elements. */
    readonly strides: Value,
  ) {}
}

/** A tensor that is not read (quantised, sparse, …): an error only where it is among the weights taken. */
export class UnreadableTensor {
  constructor(
    /** What it is, to follow the words "found a". */
    readonly kind: string,
    readonly remedy: string,
  ) {}
}

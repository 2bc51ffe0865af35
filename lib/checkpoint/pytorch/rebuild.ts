import { ElementType } from './element_type.js';
import { Problem } from './problem.js';
import { show } from './show.js';
import { Global, Storage, Tensor, Tuple, UnreadableTensor, type Value } from './values.js';

const SAVE_DENSE = 're-save the weights as plain dense tensors (before quantising or compressing)';

type Args = readonly Value[];

const badArgument = (what: string, found: string): Problem =>
  new Problem('FORMAT', `expected ${what} of a tensor, found ${found} in the pickle`);

function storage(value: Value | undefined): Storage {
  if (value instanceof Storage) return value;
  throw badArgument('the storage', 'something else');
}

/** Views that are negated or conjugated when read: their bytes are not their elements. */
function lazyView(metadata: Value | undefined): UnreadableTensor | undefined {
  if (!(metadata instanceof Map)) return undefined;
  if (metadata.get('neg') !== true && metadata.get('conj') !== true) return undefined;
  return new UnreadableTensor(
    'a lazily negated or conjugated view',
    'call resolve_neg() or resolve_conj() before saving',
  );
}

function view(args: Args, elements: ElementType, metadata: Value | undefined): Value {
  const [first, offset, shape, strides] = args;
  if (offset === undefined || shape === undefined || strides === undefined) {
    throw badArgument('at least four arguments', `${args.length}`);
  }
  return lazyView(metadata) ?? new Tensor(storage(first), elements, offset, shape, strides);
}

/** (storage, offset, size, stride), with nothing or (requires_grad, hooks, metadata) after them. */
const rebuildTyped = (args: Args): Value => view(args, storage(args[0]).elements, args[6]);

/** As above for types that have no storage class: (…, requires_grad, hooks, dtype, metadata). */
function rebuildUntyped(args: Args): Value {
  const elements = args[6];
  if (!(elements instanceof ElementType)) throw badArgument('the dtype', 'something else');
  return view(args, elements, args[7]);
}

/** (tensor, …): a parameter is its tensor. */
function rebuildParameter([data]: Args): Value {
  if (data instanceof Tensor || data instanceof UnreadableTensor) return data;
  throw badArgument('the data', 'something else');
}

const unreadable = (name: string, kind: string, remedy = SAVE_DENSE): Global =>
  new Global(name, () => new UnreadableTensor(kind, remedy));

const DIRECT: readonly Global[] = [
  new Global('torch._utils._rebuild_tensor', rebuildTyped),
  new Global('torch._utils._rebuild_tensor_v2', rebuildTyped),
  new Global('torch._utils._rebuild_tensor_v3', rebuildUntyped),
  new Global('torch._utils._rebuild_parameter', rebuildParameter),
  new Global('torch._utils._rebuild_parameter_with_state', rebuildParameter),
  unreadable('torch._utils._rebuild_qtensor', 'a quantised tensor'),
  unreadable('torch._utils._rebuild_sparse_tensor', 'a sparse tensor'),
  unreadable('torch._utils._rebuild_nested_tensor', 'a nested tensor'),
  unreadable(
    'torch._utils._rebuild_meta_tensor_no_storage',
    'a tensor on the meta device, which has no elements',
    'save the model after its weights are loaded',
  ),
];

/**
 * (function, type, args, state): a tensor with attributes, or of a subclass. The function must be one of those
 * above, not this one again, so that hostile nesting costs no recursion.
 */
function rebuildFromType([inner, type, args]: Args): Value {
  if (!(inner instanceof Global) || inner.make === undefined || !DIRECT.includes(inner)) {
    throw badArgument(
      'a rebuilding function',
      inner instanceof Global ? show(inner.name) : 'something else',
    );
  }
  if (!(type instanceof Global) || !(args instanceof Tuple)) {
    throw badArgument('the type and arguments', 'something else');
  }
  return inner.make(args.items);
}

/** The functions that torch.save names in order to have tensors rebuilt. */
export const REBUILDERS: readonly Global[] = [
  ...DIRECT,
  new Global('torch._tensor._rebuild_from_type_v2', rebuildFromType),
];

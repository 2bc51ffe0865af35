import { Problem } from './problem.js';
import { show } from './show.js';
import { Global, Opaque, Tensor, Tuple, UnreadableTensor, type Value } from './values.js';

/**
 * Bounds on what a pickle may ask for; a checkpoint of 250,000 tensors stays below them. Together with the
 * bound on its size they bound memory and time: one byte can make a container of some 200 bytes.
 */
const MAX_OPERATIONS = 2 ** 24;
const MAX_CONTAINERS = 2 ** 21;
const MAX_STACK = 2 ** 21;
const MAX_MEMO = 2 ** 22;
/** Bytes of an integer, and of a module's or global's name. */
const MAX_INTEGER = 1024;
const MAX_NAME = 1024;

/** Opcodes, by the names that Python's pickletools gives them. */
const OP = {
  MARK: 0x28,
  STOP: 0x2e,
  POP: 0x30,
  POP_MARK: 0x31,
  BINFLOAT: 0x47,
  BININT: 0x4a,
  BININT1: 0x4b,
  BININT2: 0x4d,
  NONE: 0x4e,
  BINPERSID: 0x51,
  REDUCE: 0x52,
  BINSTRING: 0x54,
  SHORT_BINSTRING: 0x55,
  BINUNICODE: 0x58,
  BINBYTES: 0x42,
  SHORT_BINBYTES: 0x43,
  EMPTY_LIST: 0x5d,
  APPEND: 0x61,
  BUILD: 0x62,
  GLOBAL: 0x63,
  APPENDS: 0x65,
  BINGET: 0x68,
  LONG_BINGET: 0x6a,
  BINPUT: 0x71,
  LONG_BINPUT: 0x72,
  SETITEM: 0x73,
  TUPLE: 0x74,
  SETITEMS: 0x75,
  EMPTY_DICT: 0x7d,
  EMPTY_TUPLE: 0x29,
  PROTO: 0x80,
  NEWOBJ: 0x81,
  TUPLE1: 0x85,
  TUPLE2: 0x86,
  TUPLE3: 0x87,
  NEWTRUE: 0x88,
  NEWFALSE: 0x89,
  LONG1: 0x8a,
  LONG4: 0x8b,
  SHORT_BINUNICODE: 0x8c,
  BINUNICODE8: 0x8d,
  BINBYTES8: 0x8e,
  EMPTY_SET: 0x8f,
  ADDITEMS: 0x90,
  FROZENSET: 0x91,
  STACK_GLOBAL: 0x93,
  MEMOIZE: 0x94,
  FRAME: 0x95,
  BYTEARRAY8: 0x96,
} as const;

/** What a pickle may reach outside of itself; both throw a Problem for what they refuse. */
export interface Resolver {
  /** The value that stands for `module.name`. */
  global(module: string, name: string): Value;
  /** The value that stands for a persistent id. */
  persistent(id: Value): Value;
}

/**
 * Reads a pickle of protocols 2 to 5, as torch.save writes them (behaviour 19). No code is run: `resolver`
 * says which globals there are and what calling them gives.
 *
 * @throws {Problem} FORMAT for bytes that are no valid pickle or ask for too much; UNSUPPORTED for what
 *   the resolver refuses.
 */
export function unpickle(bytes: Buffer, resolver: Resolver): Value {
  return new Machine(bytes, resolver).run();
}

class Machine {
  /** What each operation does; STOP ends the loop in `run`. */
  private static readonly steps: { readonly [op: number]: ((m: Machine) => void) | undefined } = {
    [OP.PROTO]: (m) => m.protocol(),
    [OP.FRAME]: (m) => m.need(m.length8()),
    [OP.MARK]: (m) => m.mark(),
    [OP.POP]: (m) => m.pop(),
    [OP.POP_MARK]: (m) => m.popMark(),
    [OP.NONE]: (m) => m.push(null),
    [OP.NEWTRUE]: (m) => m.push(true),
    [OP.NEWFALSE]: (m) => m.push(false),
    [OP.BININT]: (m) => m.push(m.bytes.readInt32LE(m.take(4))),
    [OP.BININT1]: (m) => m.push(m.uint(1)),
    [OP.BININT2]: (m) => m.push(m.uint(2)),
    [OP.LONG1]: (m) => m.push(m.integer(m.uint(1))),
    [OP.LONG4]: (m) => m.push(m.integer(m.uint(4))),
    [OP.BINFLOAT]: (m) => m.push(m.bytes.readDoubleBE(m.take(8))),
    [OP.SHORT_BINUNICODE]: (m) => m.push(m.text(m.uint(1))),
    [OP.SHORT_BINSTRING]: (m) => m.push(m.text(m.uint(1))),
    [OP.BINUNICODE]: (m) => m.push(m.text(m.uint(4))),
    [OP.BINSTRING]: (m) => m.push(m.text(m.uint(4))),
    [OP.BINUNICODE8]: (m) => m.push(m.text(m.length8())),
    [OP.SHORT_BINBYTES]: (m) => m.pushContainer(m.slice(m.uint(1))),
    [OP.BINBYTES]: (m) => m.pushContainer(m.slice(m.uint(4))),
    [OP.BINBYTES8]: (m) => m.pushContainer(m.slice(m.length8())),
    [OP.BYTEARRAY8]: (m) => m.pushContainer(m.slice(m.length8())),
    [OP.EMPTY_LIST]: (m) => m.pushContainer([]),
    [OP.EMPTY_DICT]: (m) => m.pushContainer(new Map()),
    [OP.EMPTY_SET]: (m) => m.pushContainer(new Set()),
    [OP.EMPTY_TUPLE]: (m) => m.pushContainer(new Tuple([])),
    [OP.TUPLE1]: (m) => m.pushContainer(new Tuple(m.popSome(1))),
    [OP.TUPLE2]: (m) => m.pushContainer(new Tuple(m.popSome(2))),
    [OP.TUPLE3]: (m) => m.pushContainer(new Tuple(m.popSome(3))),
    [OP.TUPLE]: (m) => m.pushContainer(new Tuple(m.popMark())),
    [OP.FROZENSET]: (m) => m.pushContainer(new Set(m.popMark())),
    [OP.APPEND]: (m) => m.append(m.popSome(1)),
    [OP.APPENDS]: (m) => m.append(m.popMark()),
    [OP.ADDITEMS]: (m) => m.addItems(m.popMark()),
    [OP.SETITEM]: (m) => m.setItems(m.popSome(2)),
    [OP.SETITEMS]: (m) => m.setItems(m.popMark()),
    [OP.BINPUT]: (m) => m.put(m.uint(1)),
    [OP.LONG_BINPUT]: (m) => m.put(m.uint(4)),
    [OP.MEMOIZE]: (m) => m.put(m.memo.size),
    [OP.BINGET]: (m) => m.get(m.uint(1)),
    [OP.LONG_BINGET]: (m) => m.get(m.uint(4)),
    [OP.GLOBAL]: (m) => m.push(m.resolver.global(m.line(), m.line())),
    [OP.STACK_GLOBAL]: (m) => m.stackGlobal(),
    [OP.REDUCE]: (m) => m.call(),
    [OP.NEWOBJ]: (m) => m.call(),
    [OP.BUILD]: (m) => m.build(),
    [OP.BINPERSID]: (m) => m.push(m.resolver.persistent(m.pop())),
  };

  private position = 0;
  private readonly stack: Value[] = [];
  /** Heights of the stack at which marks lie. */
  private readonly marks: number[] = [];
  private readonly memo = new Map<number, Value>();
  private containers = 0;

  constructor(
    private readonly bytes: Buffer,
    private readonly resolver: Resolver,
  ) {}

  run(): Value {
    for (let n = 0; n < MAX_OPERATIONS; n++) {
      const start = this.position;
      const op = this.uint(1);
      if (op === OP.STOP) return this.pop();
      const step = Machine.steps[op];
      if (step === undefined) {
        throw new Problem(
          'FORMAT',
          `expected an operation that torch.save writes, found 0x${op.toString(16).padStart(2, '0')} at byte ${start} of data.pkl`,
        );
      }
      step(this);
    }
    throw this.invalid(`more than ${MAX_OPERATIONS} operations`);
  }

  /** A Problem that says where in the pickle it lies. */
  private invalid(what: string): Problem {
    return new Problem(
      'FORMAT',
      `expected a valid pickle, found ${what} at byte ${this.position} of data.pkl`,
    );
  }

  // Bytes.

  private need(length: number): void {
    if (length > this.bytes.length - this.position) {
      throw new Problem(
        'FORMAT',
        `expected ${length} more bytes at byte ${this.position} of data.pkl, found its end (${this.bytes.length} bytes): truncated`,
      );
    }
  }

  /** Moves past `length` bytes and gives where they begin. */
  private take(length: number): number {
    this.need(length);
    const start = this.position;
    this.position += length;
    return start;
  }

  private slice(length: number): Buffer {
    const start = this.take(length);
    return this.bytes.subarray(start, start + length);
  }

  private uint(size: 1 | 2 | 4): number {
    return this.bytes.readUIntLE(this.take(size), size);
  }

  private length8(): number {
    const at = this.take(8);
    return this.bytes.readUInt32LE(at + 4) * 2 ** 32 + this.bytes.readUInt32LE(at);
  }

  private text(length: number): string {
    const start = this.take(length);
    return this.bytes.toString('utf8', start, start + length);
  }

  /** A name that ends with a newline. */
  private line(): string {
    const rest = this.bytes.subarray(this.position, this.position + MAX_NAME + 1);
    const length = rest.indexOf(0x0a);
    if (length < 0) {
      this.need(MAX_NAME + 1);
      throw this.invalid(`a name of more than ${MAX_NAME} bytes`);
    }
    this.position += length + 1;
    return rest.toString('utf8', 0, length);
  }

  /** A little-endian two's complement integer. */
  private integer(length: number): number | bigint {
    if (length > MAX_INTEGER) throw this.invalid(`an integer of ${length} bytes`);
    const digits = Buffer.from(this.slice(length)).reverse().toString('hex');
    const value = BigInt.asIntN(8 * length, BigInt(`0x0${digits}`));
    const number = Number(value);
    return Number.isSafeInteger(number) ? number : value;
  }

  // The stack.

  private mark(): void {
    if (this.marks.length >= MAX_STACK) throw this.invalid(`more than ${MAX_STACK} marks`);
    this.marks.push(this.stack.length);
  }

  private push(value: Value): void {
    if (this.stack.length >= MAX_STACK) throw this.invalid(`more than ${MAX_STACK} pending values`);
    this.stack.push(value);
  }

  private pushContainer(value: Value): void {
    this.containers += 1;
    if (this.containers > MAX_CONTAINERS) {
      throw this.invalid(`more than ${MAX_CONTAINERS} objects`);
    }
    this.push(value);
  }

  /** Height below which nothing may be taken: the last mark. */
  private floor(): number {
    return this.marks.at(-1) ?? 0;
  }

  private pop(): Value {
    return this.popSome(1)[0] as Value;
  }

  private popSome(count: number): Value[] {
    const height = this.stack.length - count;
    if (height < this.floor()) throw this.invalid('an operation without its operands');
    return this.stack.splice(height, count);
  }

  /** What lies above the last mark; takes the mark away too. */
  private popMark(): Value[] {
    const mark = this.marks.pop();
    if (mark === undefined) throw this.invalid('an operation without its mark');
    return this.stack.splice(mark);
  }

  private top(): Value {
    if (this.stack.length <= this.floor()) throw this.invalid('an operation without its operands');
    return this.stack[this.stack.length - 1] as Value;
  }

  // Operations.

  private protocol(): void {
    const protocol = this.uint(1);
    if (protocol > 5) {
      throw new Problem(
        'UNSUPPORTED',
        `expected pickle protocol 2 to 5, found ${protocol} in data.pkl`,
        're-save it with torch.save and its default pickle protocol',
      );
    }
  }

  private append(items: Value[]): void {
    const list = this.top();
    if (!Array.isArray(list)) throw this.invalid('items for what is no list');
    for (const item of items) list.push(item);
  }

  private addItems(items: Value[]): void {
    const set = this.top();
    if (!(set instanceof Set)) throw this.invalid('items for what is no set');
    for (const item of items) set.add(item);
  }

  private setItems(items: Value[]): void {
    const dict = this.top();
    if (!(dict instanceof Map)) throw this.invalid('items for what is no dict');
    if (items.length % 2 !== 0) throw this.invalid('a key without its value');
    for (let i = 0; i < items.length; i += 2) {
      const key = items[i] as Value;
      // No pickler writes a key twice; which of two tensors is meant would be a guess.
      if (typeof key === 'string' && dict.has(key)) {
        throw this.invalid(`the key ${show(key)} twice in one dict`);
      }
      dict.set(key, items[i + 1] as Value);
    }
  }

  private put(index: number): void {
    if (this.memo.size >= MAX_MEMO && !this.memo.has(index)) {
      throw this.invalid(`more than ${MAX_MEMO} remembered objects`);
    }
    this.memo.set(index, this.top());
  }

  private get(index: number): void {
    const value = this.memo.get(index);
    if (value === undefined)
      throw this.invalid(`a reference to object ${index}, which is not there`);
    this.push(value);
  }

  private stackGlobal(): void {
    const [module, name] = this.popSome(2);
    if (typeof module !== 'string' || typeof name !== 'string') {
      throw this.invalid('a global whose name is no string');
    }
    this.push(this.resolver.global(module, name));
  }

  private call(): void {
    const [callee, args] = this.popSome(2);
    if (!(callee instanceof Global) || callee.make === undefined) {
      const what = callee instanceof Global ? show(callee.name) : 'what is no global';
      throw this.invalid(`a call of ${what}`);
    }
    if (!(args instanceof Tuple))
      throw this.invalid(`a call of ${show(callee.name)} without a tuple`);
    this.pushContainer(callee.make(args.items));
  }

  /**
   * Gives an object its attributes. None of them matters to the weights: `_metadata` of a state dict, what a
   * Namespace holds, attributes set on a tensor.
   */
  private build(): void {
    this.pop();
    const object = this.top();
    const takesState =
      object instanceof Map ||
      object instanceof Opaque ||
      object instanceof Tensor ||
      object instanceof UnreadableTensor;
    if (!takesState) throw this.invalid('attributes for what has none');
  }
}

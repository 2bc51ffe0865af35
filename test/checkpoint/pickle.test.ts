import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { torchGlobals } from '../../lib/checkpoint/pytorch/globals.js';
import { unpickle } from '../../lib/checkpoint/pytorch/pickle.js';
import { Problem } from '../../lib/checkpoint/pytorch/problem.js';
import { Opaque, Tuple } from '../../lib/checkpoint/pytorch/values.js';

/** A pickle from pieces: text as it is, numbers as bytes. */
const pickle = (...pieces: (string | number | Buffer)[]): Buffer =>
  Buffer.concat(
    pieces.map((piece) =>
      typeof piece === 'number'
        ? Buffer.from([piece])
        : typeof piece === 'string'
          ? Buffer.from(piece, 'latin1')
          : piece,
    ),
  );

const load = (...pieces: (string | number | Buffer)[]) =>
  unpickle(pickle(...pieces, '.'), torchGlobals);

const problem = (bytes: Buffer): Problem => {
  try {
    unpickle(bytes, torchGlobals);
  } catch (error) {
    expect(error).toBeInstanceOf(Problem);
    return error as Problem;
  }
  throw new Error('was read');
};

const length = (bytes: 4 | 8, n: number): Buffer => {
  const buffer = Buffer.alloc(bytes);
  buffer.writeUIntLE(n, 0, 4);
  return buffer;
};

const text = (value: string): Buffer => {
  const bytes = Buffer.from(value);
  return pickle('X', length(4, bytes.length), bytes);
};

describe('values', () => {
  test.each([
    ['none', ['N'], null],
    ['true', [0x88], true],
    ['false', [0x89], false],
    ['one byte', ['K', 255], 255],
    ['two bytes', ['M', 1, 2], 513],
    ['four bytes', ['J', 254, 255, 255, 255], -2],
    ['long of no bytes', [0x8a, 0], 0],
    ['long of one byte', [0x8a, 1, 0xff], -1],
    ['long of nine bytes', [0x8a, 9, 0, 0, 0, 0, 0, 0, 0, 0, 1], 2n ** 64n],
    ['LONG4', [0x8b, length(4, 2), 0, 0x80], -32768],
    ['largest safe integer', [0x8a, 7, 255, 255, 255, 255, 255, 255, 31], Number.MAX_SAFE_INTEGER],
    ['float', ['G', 0x40, 4, 0, 0, 0, 0, 0, 0], 2.5],
    ['text', [text('é')], 'é'],
    ['short text', [0x8c, 1, 'a'], 'a'],
    ['long text', [0x8d, length(8, 2), 'ab'], 'ab'],
    ['string', ['T', length(4, 1), 'a'], 'a'],
    ['short string', ['U', 1, 'a'], 'a'],
    ['bytes', ['B', length(4, 1), 7], Buffer.from([7])],
    ['short bytes', ['C', 1, 7], Buffer.from([7])],
    ['long bytes', [0x8e, length(8, 1), 7], Buffer.from([7])],
    ['bytearray', [0x96, length(8, 1), 7], Buffer.from([7])],
    ['list', [']', 'K', 1, 'a', '(', 'K', 2, 'K', 3, 'e'], [1, 2, 3]],
    [
      'dict',
      ['}', 'K', 1, 'N', 's', '(', 'K', 2, 'N', 'u'],
      new Map([
        [1, null],
        [2, null],
      ]),
    ],
    ['set', [0x8f, '(', 'K', 1, 'K', 1, 0x90], new Set([1])],
    ['frozenset', ['(', 'K', 1, 0x91], new Set([1])],
    ['empty tuple', [')'], new Tuple([])],
    ['tuple of one', ['K', 1, 0x85], new Tuple([1])],
    ['tuple of two', ['K', 1, 'K', 2, 0x86], new Tuple([1, 2])],
    ['tuple of three', ['K', 1, 'K', 2, 'K', 3, 0x87], new Tuple([1, 2, 3])],
    ['tuple', ['(', 'K', 1, 't'], new Tuple([1])],
    ['pop', ['K', 1, 'K', 2, '0'], 1],
    ['pop to mark', ['K', 1, '(', 'K', 2, 'K', 3, '1'], 1],
    ['memo', ['K', 1, 'q', 0, '0', 'K', 2, 'r', length(4, 2 ** 32 - 1), '0', 'h', 0], 1],
    ['long memo', ['K', 1, 'r', length(4, 2 ** 32 - 1), '0', 'j', length(4, 2 ** 32 - 1)], 1],
    ['memoize', ['K', 1, 0x94, '0', 'h', 0], 1],
    ['frame', [0x80, 4, 0x95, length(8, 2), 'N'], null],
    ['global and call', ['ccollections\nOrderedDict\n', ')', 'R'], new Map()],
    [
      'stack global and new object',
      [text('argparse'), text('Namespace'), 0x93, ')', 0x81],
      new Opaque('argparse.Namespace'),
    ],
    ['attributes', ['ccollections\nOrderedDict\n', ')', 'R', '}', 'b'], new Map()],
  ] as const)('behaviour 19: %s', (_, pieces, value) => {
    expect(load(...pieces)).toEqual(value);
  });

  test('behaviour 19: hostile keys of a dict reach no prototype', () => {
    const dict = load('}', text('__proto__'), '}', text('polluted'), 'K', 1, 's', 's');
    expect(dict).toEqual(new Map([['__proto__', new Map([['polluted', 1]])]]));
    expect(({} as { polluted?: number }).polluted).toBeUndefined();
  });

  test('behaviour 19: containers that contain themselves end', () => {
    const list = load(']', 'q', 0, 'h', 0, 'a') as unknown[];
    expect(list[0]).toBe(list);
    const dict = load('}', 'q', 0, 'K', 1, 'h', 0, 's') as Map<unknown, unknown>;
    expect(dict.get(1)).toBe(dict);
  });
});

describe('what is refused', () => {
  const truncated = pickle(0x80, 2, '}q\0(', text('a'), 'K', 1, 'G', Buffer.alloc(8), 'u.');

  test('behaviour 19: every prefix of a pickle', () => {
    for (let n = 0; n < truncated.length; n++) {
      expect(problem(truncated.subarray(0, n)).code).toBe('FORMAT');
    }
  });

  test.each([
    ['an unknown operation', [0xff]],
    ['an operation of protocol 0', ['I1\n']],
    ['protocol 6', [0x80, 6, 'N.']],
    ['nothing on the stack', ['.']],
    ['a call without operands', ['R']],
    ['taking what lies below a mark', ['K', 1, '(', 0x85, '.']],
    ['an absent mark', ['t']],
    ['an absent reference', ['h', 3]],
    ['remembering nothing', ['q', 0]],
    ['appending to a dict', ['}', 'N', 'a']],
    ['setting items of a list', [']', 'N', 'N', 's']],
    ['adding to a list', [']', '(', 'N', 0x90]],
    ['an odd number of items', ['}', '(', 'N', 'u']],
    ['one key twice', ['}', '(', text('a'), 'N', text('a'), 'N', 'u']],
    ['calling a number', ['K', 1, ')', 'R']],
    ['calling a type that is only mentioned', ['ctorch\nTensor\n', ')', 'R']],
    ['calling without a tuple', ['ccollections\nOrderedDict\n', ']', 'R']],
    ['an OrderedDict of a list', ['ccollections\nOrderedDict\n', ']', 0x85, 'R']],
    ['attributes of a number', ['K', 1, '}', 'b']],
    ['a global without end', ['c', Buffer.alloc(5000, 'a')]],
    ['a global that is no text', ['K', 1, 'K', 2, 0x93]],
    ['a persistent id that is no storage', [text('x'), 'Q']],
    [
      'a negative number of elements',
      [
        '(',
        text('storage'),
        'ctorch\nFloatStorage\n',
        text('0'),
        text('cpu'),
        'J',
        255,
        255,
        255,
        255,
        't',
        'Q',
      ],
    ],
    ['an integer of 2000 bytes', [0x8b, length(4, 2000), Buffer.alloc(2000, 1)]],
    ['text of 2 ** 53 bytes', [0x8d, Buffer.from([0, 0, 0, 0, 0, 0, 32, 0])]],
    ['text of 2 ** 64 - 1 bytes', [0x8d, Buffer.alloc(8, 255)]],
    ['a frame past the end', [0x95, Buffer.alloc(8, 255)]],
    [
      'rebuilding inside of rebuilding',
      [
        'ctorch._tensor\n_rebuild_from_type_v2\n',
        'q',
        0,
        '(',
        'h',
        0,
        'ctorch\nTensor\n',
        ')',
        '}',
        't',
        'R',
      ],
    ],
    [
      'rebuilding by another function',
      [
        'ctorch._tensor\n_rebuild_from_type_v2\n',
        '(',
        'ctorch\nSize\n',
        'ctorch\nTensor\n',
        ')',
        '}',
        't',
        'R',
      ],
    ],
  ] as const)('behaviour 19: %s', (_, pieces) => {
    const { code, message } = problem(pickle(...pieces));
    expect(['FORMAT', 'UNSUPPORTED']).toContain(code);
    expect(message).not.toContain('\n');
  });

  test.each([
    ['os', 'system'],
    ['posix', 'system'],
    ['nt', 'system'],
    ['subprocess', 'Popen'],
    ['builtins', 'eval'],
    ['builtins', 'getattr'],
    ['builtins', '__import__'],
    ['functools', 'partial'],
    ['operator', 'attrgetter'],
    ['torch', 'load'],
    ['torch.serialization', 'load'],
    ['torch.storage', '_load_from_bytes'],
    ['torch.hub', 'load'],
    ['numpy', 'load'],
    ['collections', 'OrderedDict.__init__'],
    ['torch', 'EvilStorage'],
    ['os', 'FloatStorage'],
    ['', ''],
    ['__proto__', 'constructor'],
  ])('behaviour 19: the global %s.%s', (module, name) => {
    for (const pieces of [[`c${module}\n${name}\n`], [text(module), text(name), 0x93]]) {
      const { code, message, remedy } = problem(pickle(...pieces, ')', 'R', '.'));
      expect(code).toBe('UNSUPPORTED');
      expect(message).toContain(`${module}.${name}`);
      expect(remedy).toContain('state_dict');
    }
  });

  test('behaviour 19: control characters of a global do not reach the terminal', () => {
    const { message } = problem(pickle('ca\x1b[2J\x9b\nb\rc\n'));
    // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is looked for
    expect(message).not.toMatch(/[\x00-\x1f\x7f-\x9f]/);
  });

  test.each([
    ['dicts', '}', 2 ** 22],
    ['marks', '(', 2 ** 22],
    ['nested tuples', '\x85', 2 ** 22],
    ['remembered objects', '\x94', 2 ** 23],
    ['lists that are dropped', ']0', 2 ** 22],
    ['operations', 'N0', 2 ** 23 + 1],
  ])('behaviour 19: too many %s', (_, unit, count) => {
    const bytes = Buffer.alloc(unit.length * count, unit, 'latin1');
    expect(problem(pickle('N', bytes)).message).toContain('more than');
  });

  test('behaviour 19: one large dict or tuple named again and again is not copied', () => {
    const many = 2 ** 18;
    const dict = pickle('}', 'q', 0, '(', ...numbered(2 ** 10), 'u');
    const calls = Buffer.alloc(many * 5, Buffer.from('h\x01h\x02R', 'latin1'));
    const bytes = pickle(
      '(',
      dict,
      0x85,
      'q',
      2,
      'ccollections\nOrderedDict\n',
      'q',
      1,
      calls,
      'l',
    );
    const start = process.memoryUsage().heapUsed;
    // Read up to the last operation, which is none.
    expect(problem(bytes).message).toContain('0x6c');
    expect(process.memoryUsage().heapUsed - start).toBeLessThan(200e6);
  });
});

/** Pairs of a number and None. */
function numbered(count: number): Buffer[] {
  return Array.from({ length: count }, (_, i) => pickle('M', i & 255, i >> 8, 'N'));
}

describe('anything at all', () => {
  const operation = fc.oneof(
    fc.constantFrom(...'()]}0NaestubRQ.'.split('').map((c) => Buffer.from(c))),
    fc
      .constantFrom(0x81, 0x85, 0x86, 0x87, 0x88, 0x8f, 0x90, 0x91, 0x93, 0x94)
      .map((n) => Buffer.from([n])),
    fc.nat(4).map((n) => Buffer.from([0x68, n])),
    fc.nat(4).map((n) => Buffer.from([0x71, n])),
    fc.nat(9).map((n) => Buffer.from([0x4b, n])),
    fc.constantFrom('storage', 'a', 'torch', 'Size').map(text),
    fc
      .constantFrom(
        'ctorch._utils\n_rebuild_tensor_v2\n',
        'ctorch._utils\n_rebuild_parameter\n',
        'ctorch._tensor\n_rebuild_from_type_v2\n',
        'ctorch\nFloatStorage\n',
        'ctorch\nfloat32\n',
        'ccollections\nOrderedDict\n',
        'cargparse\nNamespace\n',
      )
      .map((line) => Buffer.from(line)),
  );

  test('behaviour 19: any sequence of operations is read or refused', () => {
    fc.assert(
      fc.property(fc.array(operation, { maxLength: 60 }), (operations) => {
        try {
          unpickle(Buffer.concat(operations), torchGlobals);
        } catch (error) {
          if (!(error instanceof Problem)) throw error;
        }
      }),
      { numRuns: 5000, seed: 19 },
    );
  });

  test('behaviour 19: any bytes are read or refused', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 80 }), (bytes) => {
        try {
          unpickle(Buffer.from(bytes), torchGlobals);
        } catch (error) {
          if (!(error instanceof Problem)) throw error;
        }
      }),
      { numRuns: 5000, seed: 19 },
    );
  });
});

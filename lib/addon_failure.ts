// What is said where the native addon does not load: what was found, what is needed, what to run.
import { closeSync, existsSync, fstatSync, openSync, readdirSync, readSync } from 'node:fs';
import { arch, platform } from 'node:os';
import { join, relative } from 'node:path';
import { StockpotError } from './errors.js';

/** The oldest glibc that a Linux prebuild runs with; scripts/check_prebuild.mjs holds prebuilds to it. */
const GLIBC_FLOOR = '2.34';

/** Machine numbers of ELF (/usr/include/elf.h) and Mach-O (mach/machine.h). */
const ELF_MACHINES: Record<number, string> = { 3: 'ia32', 40: 'arm', 62: 'x64', 183: 'arm64' };
const MACH_O_MACHINES: Record<number, string> = { 16777223: 'x64', 16777228: 'arm64' };

/** The first bytes of a file, and its size. */
function beginning(file: string): { head: Buffer; size: number } {
  const head = Buffer.alloc(64);
  const fd = openSync(file, 'r');
  try {
    const length = readSync(fd, head, 0, head.length, 0);
    return { head: head.subarray(0, length), size: fstatSync(fd).size };
  } finally {
    closeSync(fd);
  }
}

const isElf = (head: Buffer) => head.length === 64 && head.readUInt32BE(0) === 0x7f454c46;

/** Whether a Linux library ends before its table of sections, which comes last: opening one kills the process (SIGBUS). */
export function isCutOff(file: string): boolean {
  const { head, size } = beginning(file);
  if (!isElf(head) || head[4] !== 2) return false; // 2: of 64 bits
  const [sections, bytes, count] = [
    head.readBigUInt64LE(0x28),
    head.readUInt16LE(0x3a),
    head.readUInt16LE(0x3c),
  ];
  return Number(sections) + bytes * count > size;
}

/** Which system and processor a shared library is for, from its first bytes. */
function libraryKind(file: string): string {
  const known = (table: Record<number, string>, machine: number) =>
    table[machine] ?? `machine ${machine}`;
  try {
    const { head } = beginning(file);
    if (isElf(head)) {
      const kind = `for Linux ${known(ELF_MACHINES, head.readUInt16LE(18))}`;
      return isCutOff(file) ? `${kind}, cut off` : kind;
    }
    if (head.length === 64 && head.readUInt32LE(0) === 0xfeedfacf)
      return `for macOS ${known(MACH_O_MACHINES, head.readUInt32LE(4))}`;
    return head.toString('latin1', 0, 2) === 'MZ' ? 'for Windows' : 'no shared library';
  } catch (e) {
    return `cannot be read: ${(e as NodeJS.ErrnoException).code}`;
  }
}

const list = (folder: string): string[] => {
  try {
    return readdirSync(folder).sort();
  } catch {
    return [];
  }
};

/** Every addon that lies in the package, whatever it is for, in the order in which they are looked for. */
function addons(root: string): string[] {
  const folders = ['build/Release', ...list(join(root, 'prebuilds')).map((n) => `prebuilds/${n}`)];
  return folders
    .map((folder) => join(root, folder))
    .flatMap((folder) =>
      list(folder)
        .filter((name) => name.endsWith('.node'))
        .map((name) => join(folder, name)),
    );
}

/** "glibc 2.36", "musl" or, elsewhere than on Linux, nothing. */
function libc(): string | undefined {
  if (platform() !== 'linux') return undefined;
  const report = process.report as NodeJS.ProcessReport & { excludeNetwork?: boolean };
  const before = report.excludeNetwork;
  report.excludeNetwork = true; // else it looks up the names of all connections
  const { header } = report.getReport() as { header?: { glibcVersionRuntime?: string } };
  report.excludeNetwork = before;
  return header?.glibcVersionRuntime ? `glibc ${header.glibcVersionRuntime}` : 'musl';
}

/** The error for an addon of the package in `root` that did not load because of `cause`. */
export function addonFailure(root: string, cause: unknown): StockpotError {
  const here = `${platform()}-${arch()}`;
  const why = cause instanceof Error ? cause.message.split('\n')[0] : String(cause);
  const message = `the native addon does not load on ${here} with Node ${process.version}: ${why}`;
  if (!existsSync(join(root, 'binding.gyp'))) {
    return new StockpotError('NATIVE', message, {
      cause,
      details: [{ message }, { message: `found: no package of stockpot in ${root}` }],
      remedy:
        'A bundler has moved stockpot away from its addon. Leave it out of the bundle (esbuild: --external:stockpot) and install it beside the bundle: npm install stockpot.',
    });
  }
  const there = addons(root).map((file) => `${relative(root, file)} (${libraryKind(file)})`);
  const system = libc();
  const wanted = [
    ...(system ? [`glibc ${GLIBC_FLOOR} or newer (here: ${system})`] : []),
    `Node-API 9 (here: ${process.versions.napi})`,
  ];
  return new StockpotError('NATIVE', message, {
    cause,
    details: [
      { message },
      { message: `found: ${there.join(', ') || 'no addon'} in ${root}` },
      {
        message: `needed: prebuilds/${here}/stockpot*.node for ${wanted.join(' and ')}, or build/Release/stockpot.node compiled here`,
      },
    ],
    remedy: `Install the package again, or compile the addon with a C++17 compiler, make and Python 3 (Debian: apt-get install g++ make python3): cd ${root} && npx node-gyp rebuild`,
  });
}

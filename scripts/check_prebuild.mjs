// What must hold of a Linux prebuild, whatever machine made it: `check_prebuild.mjs [ADDON [OBJECTS]]`.
//
// - It needs no newer glibc than the floor, no C++ library at all, and no other library than those that every glibc system
//   with Node has, or that lie beside it and are found by $ORIGIN.
// - On x64, nothing outside of the files for AVX2 and AVX-512, which are entered only after a look at the processor, has
//   an instruction beyond x86-64-v2. Of functions that several objects bring (inline ones, templates) the linker takes
//   any, so those of these files must not have one either. OBJECTS is the folder of the compiled objects.
import { spawnSync } from 'node:child_process';
import { existsSync, readdirSync } from 'node:fs';
import { basename, dirname, join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';

export const GLIBC_FLOOR = '2.34';
/** libgcc_s is what Node itself needs too; 7.0 is of GCC 7, of 2017. */
const LIBGCC_FLOOR = '7.0';
const SYSTEM = /^(lib(c|m|dl|rt|pthread|gcc_s)\.so\.\d+|ld-linux-[\w-]+\.so\.\d)$/;
const DISPATCHED = /_(avx2|avx512)\.o$/;
/** Encodings of AVX and later, and the integer instructions that x86-64-v3 adds. */
const BEYOND_V2 =
  /\t(v(?!err|erw)[a-z]\w*|andn|bextr|bls(i|r|msk)|bzhi|mulx|pdep|pext|rorx|sarx|shlx|shrx|movbe|lzcnt)\s/;

const root = join(dirname(fileURLToPath(import.meta.url)), '..');

function objdump(...args) {
  const { status, stdout, stderr, error } = spawnSync('objdump', args, {
    encoding: 'utf8',
    maxBuffer: 2 ** 30,
  });
  if (error || status !== 0)
    throw new Error(`objdump ${args.join(' ')}: ${error?.message ?? stderr}`);
  return stdout;
}

const newer = (a, b) => a.localeCompare(b, 'en', { numeric: true }) > 0;

/** What is wrong with the libraries and symbol versions that a shared library needs; a sentence each. */
export function checkNeeds(addon) {
  const needs = objdump('-p', addon);
  const wrong = [];
  const symbols = objdump('-T', addon);
  for (const [, library, version] of symbols.matchAll(/\*UND\*.*\(?\b([A-Z]+)_(\d[\d.]*)\)?/g)) {
    const floor = { GLIBC: GLIBC_FLOOR, GCC: LIBGCC_FLOOR }[library];
    if (!floor) wrong.push(`needs the C++ library (${library}_${version})`);
    else if (newer(version, floor)) wrong.push(`needs ${library} ${version}, beyond ${floor}`);
  }
  const beside = /\s(RUNPATH|RPATH)\s+\$ORIGIN\s/.test(needs);
  for (const [, name] of needs.matchAll(/NEEDED\s+(\S+)/g)) {
    if (SYSTEM.test(name)) continue;
    if (!existsSync(join(dirname(addon), name)))
      wrong.push(`needs ${name}, which is not beside it`);
    else if (!beside) wrong.push(`needs ${name} without a run path of $ORIGIN`);
  }
  return [...new Set(wrong)];
}

/** What in one object must not run on a processor of x86-64-v2, but may; a sentence each. */
export function checkInstructions(object) {
  const text = objdump('-d', '--no-show-raw-insn', object);
  const shared = new Set(
    [...objdump('-t', object).matchAll(/^\S+\s+w\s+F\s+\S+\s+\S+\s+(?:\.hidden\s+)?(\S+)$/gm)].map(
      (m) => m[1],
    ),
  );
  const wrong = new Set();
  let name = '';
  for (const line of text.split('\n')) {
    const start = /^[0-9a-f]+ <(.*)>:$/.exec(line);
    if (start) name = start[1];
    else if (BEYOND_V2.test(line) && (!DISPATCHED.test(object) || shared.has(name)))
      wrong.add(
        `${basename(object)}: ${name} has ${line.split('\t').slice(1).join(' ').trim().replace(/\s+/g, ' ')}`,
      );
  }
  return [...wrong];
}

const filesIn = (folder) =>
  readdirSync(folder, { recursive: true })
    .map((name) => join(folder, name))
    .filter((path) => path.endsWith('.o'));

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const folder = join(root, 'prebuilds', `linux-${process.arch}`);
  const [addon = join(folder, 'stockpot.glibc.node'), given] = process.argv.slice(2);
  const wrong = checkNeeds(addon);
  const objects = given ?? join(root, '.scratch/prebuild/build/Release/obj.target');
  let looked = 0;
  if (/x86-64/.test(objdump('-f', addon))) {
    const found = filesIn(objects);
    if (!found.some((o) => DISPATCHED.test(o))) wrong.push(`no kernels in ${objects}`);
    for (const object of found) wrong.push(...checkInstructions(object));
    looked = found.length;
  }
  for (const sentence of wrong) console.error(`${relative(root, addon)} ${sentence}`);
  if (wrong.length > 0) process.exit(1);
  console.log(
    `${relative(root, addon)}: glibc ${GLIBC_FLOOR}, no C++ library${looked ? `, x86-64-v2 (${looked} objects)` : ''}`,
  );
}

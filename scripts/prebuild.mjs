// Makes prebuilds/PLATFORM-ARCH/stockpot*.node, which node-gyp-build finds in an installed package. Compiles in a copy,
// so that build/ stays as it is. `prebuild.mjs arm64` compiles for Linux arm64 on Linux x64 (Debian: g++-aarch64-linux-gnu).
import { spawnSync } from 'node:child_process';
import { cpSync, mkdirSync, rmSync, symlinkSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { nodeHeaders } from './headers.mjs';

const arch = process.argv[2] ?? process.arch;
const crossing = arch !== process.arch;
if (crossing && !(process.platform === 'linux' && arch === 'arm64')) {
  console.error(`prebuild: cannot compile for ${arch} here`);
  process.exit(1);
}
const root = join(dirname(fileURLToPath(import.meta.url)), '..');
const copy = join(root, '.scratch', 'prebuild');
rmSync(copy, { recursive: true, force: true });
rmSync(join(root, 'prebuilds', `${process.platform}-${arch}`), {
  recursive: true,
  force: true,
});
mkdirSync(copy, { recursive: true });
for (const name of ['package.json', 'binding.gyp', 'native']) {
  cpSync(join(root, name), join(copy, name), { recursive: true });
}
symlinkSync(join(root, 'node_modules'), join(copy, 'node_modules'));

const args = [
  join(root, 'node_modules/prebuildify/bin.js'),
  '--napi',
  '--strip',
  `--arch=${arch}`,
  ...(process.platform === 'linux' ? ['--tag-libc'] : []),
  `--target=${process.versions.node}`,
  `--cwd=${copy}`,
  `--out=${root}`,
];
const env = { ...process.env };
if (nodeHeaders) env.npm_config_nodedir = nodeHeaders;
if (crossing) {
  for (const [name, tool] of [
    ['CC', 'gcc'],
    ['CXX', 'g++'],
    ['PREBUILD_STRIP_BIN', 'strip'],
  ]) {
    env[name] = `aarch64-linux-gnu-${tool}`;
  }
}
// With the C++ library inside and hidden, a prebuild runs where that library is older than the compiler here.
if (process.platform === 'linux') {
  env.LDFLAGS = '-static-libstdc++ -Wl,--exclude-libs,ALL -Wl,--gc-sections';
}
const { status, error } = spawnSync(process.execPath, args, { stdio: 'inherit', env });
if (error) console.error(`prebuild: ${error.message}`);
process.exit(status ?? 1);

// What a result is worth nothing without: the machine, its load, and the versions.
import { execFileSync, spawnSync } from 'node:child_process';
import { readFileSync, statfsSync } from 'node:fs';
import { availableParallelism, cpus, loadavg, release, totalmem } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

export const root = join(dirname(fileURLToPath(import.meta.url)), '..');
export const cli = join(root, 'dist/cli.js');

export const machineOf = (folder) => ({
  processor: cpus()[0].model.trim(),
  threads: availableParallelism(),
  memory: totalmem(),
  kernel: release(),
  fileSystem: `type ${statfsSync(folder).type.toString(16)}`,
  load: loadavg()[0],
});

export const ownVersions = () => ({
  stockpot: JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')).version,
  node: process.version,
  kernelVariant: JSON.parse(
    execFileSync(process.execPath, [cli, 'devices', '--json'], { encoding: 'utf8' }),
  ).devices[0].kernels[0],
});

/** Version of a Python package, '' where it is not there. */
export const versionOf = (interpreter, module) =>
  spawnSync(
    interpreter,
    ['-c', `from importlib.metadata import version; print(version("${module}"))`],
    { encoding: 'utf8' },
  ).stdout?.trim() ?? '';

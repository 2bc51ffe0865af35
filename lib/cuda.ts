import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { createRequire } from 'node:module';
import { arch, platform } from 'node:os';
import { dirname, isAbsolute, join } from 'node:path';
import { StockpotError } from './errors.js';
import { packageRoot } from './native.js';

/** A GPU that a backend library found (native/addon/backend.cc). */
export interface CudaDevice {
  name: string;
  memoryTotal: number;
  memoryFree: number;
  /** Compute capability, such as "9.0". */
  capability: string;
  multiprocessors: number;
  status: string;
  /** Why it cannot be used. */
  message: string;
}

export interface CudaProbe {
  /** Absolute path of the library. */
  library?: string;
  /** Why nothing can be used; else there are devices. */
  reason?: string;
  driverVersion?: number;
  /** Why matrix products, and so networks, cannot be computed. */
  matmulMessage?: string;
  devices: CudaDevice[];
}

/** Where the package stockpot-cuda is installed, as Node finds it from here. */
function cudaPackage(): string[] {
  try {
    return [dirname(createRequire(import.meta.url).resolve('stockpot-cuda/package.json'))];
  } catch {
    return [];
  }
}

/** The backend's library: what STOCKPOT_CUDA_LIBRARY names, else that of the package stockpot-cuda, else one built here. */
function findLibrary(): string | undefined {
  const named = process.env.STOCKPOT_CUDA_LIBRARY;
  if (named) {
    if (!isAbsolute(named) || !existsSync(named)) {
      throw new StockpotError(
        'DEVICE',
        `STOCKPOT_CUDA_LIBRARY must be the absolute path of libstockpot-cuda.so but is ${named}`,
      );
    }
    return named;
  }
  const built = ['packages/cuda', 'build-cuda', 'build-cmake/Release'];
  return [...cudaPackage(), ...built.map((folder) => join(packageRoot, folder))]
    .flatMap((folder) => [join(folder, `${platform()}-${arch()}`), folder])
    .map((folder) => join(folder, 'libstockpot-cuda.so'))
    .find((path) => existsSync(path));
}

/** What the child process does: open the library, ask it, print. */
const CHILD = `
  const [addon, library] = process.argv.slice(1);
  process.stdout.write('\\n' + JSON.stringify(require(addon).probeBackend(library)));
`;

/** Asks a library what it finds, in a child process: a driver that crashes or hangs takes only that one with it. */
export function probeLibrary(library: string, timeout = 60_000): CudaProbe {
  const addon = createRequire(import.meta.url)('node-gyp-build').resolve(packageRoot) as string;
  const child = spawnSync(process.execPath, ['-e', CHILD, addon, library], {
    timeout,
    killSignal: 'SIGKILL',
    encoding: 'utf8',
    env: { ...process.env, NODE_OPTIONS: '', ELECTRON_RUN_AS_NODE: '1' },
  });
  const failed = (how: string): CudaProbe => {
    const said = child.stderr?.trim().split('\n').at(-1);
    return { library, reason: `${library}: ${how}${said ? ` (${said})` : ''}`, devices: [] };
  };
  if ((child.error as NodeJS.ErrnoException | undefined)?.code === 'ETIMEDOUT')
    return failed(`did not answer within ${timeout / 1000} s when it was tried`);
  if (child.error) return failed(`could not be tried: ${child.error.message}`);
  if (child.signal) return failed(`crashed (${child.signal}) when it was tried`);
  try {
    const found = JSON.parse(child.stdout.slice(child.stdout.lastIndexOf('\n') + 1));
    const reason = found.error ?? (found.status === 'ok' ? undefined : found.message);
    return {
      library,
      reason,
      driverVersion: found.driverVersion,
      matmulMessage: found.matmulMessage || undefined,
      devices: found.devices ?? [],
    };
  } catch {
    return failed(`ended with exit code ${child.status} when it was tried`);
  }
}

const probes = new Map<string, CudaProbe>();

/** What there is of CUDA; tried once a process. */
export function probeCuda(): CudaProbe {
  let library: string | undefined;
  try {
    library = findLibrary();
  } catch (e) {
    return { reason: (e as Error).message, devices: [] };
  }
  if (library === undefined) {
    const reason =
      'libstockpot-cuda.so is not here: stockpot works without it, and docs/gpu.md says how to install (npm install stockpot-cuda) or build it';
    return { reason, devices: [] };
  }
  const probe = probes.get(library) ?? probeLibrary(library);
  probes.set(library, probe);
  return probe;
}

/** A device to compute on. */
export interface ChosenDevice {
  library: string;
  index: number;
}

/**
 * The GPU that `--device` names, or undefined for the processor. `auto` is the processor: a mean from disk to disk is no
 * faster elsewhere.
 * @throws StockpotError USAGE, DEVICE; a named device never falls back
 */
export function chooseDevice(name = 'auto'): ChosenDevice | undefined {
  if (name === 'auto' || name === 'cpu') return undefined;
  const match = /^cuda(?::(\d{1,3}))?$/.exec(name);
  if (!match) {
    throw new StockpotError(
      'USAGE',
      `expected --device to be auto, cpu, cuda or cuda:N but received ${name}`,
    );
  }
  const refuse = (reason: string) =>
    new StockpotError('DEVICE', `device ${name} is not usable: ${reason}`, {
      remedy: 'Use --device cpu, or --device auto.',
    });
  const { library, reason, devices } = probeCuda();
  if (reason !== undefined || library === undefined) throw refuse(reason ?? 'unknown');
  const index = Number(match[1] ?? 0);
  const device = devices[index];
  if (!device) {
    const there =
      devices.length === 1 ? 'there is 1 GPU, cuda:0' : `there are ${devices.length} GPUs`;
    throw refuse(there);
  }
  if (device.status !== 'ok') throw refuse(`${device.name}: ${device.message}`);
  return { library, index };
}

/**
 * Refuses a GPU for what has not been made for it yet.
 * @throws StockpotError USAGE, DEVICE
 */
export function requireProcessor(device: string | undefined, what: string): void {
  if (chooseDevice(device) === undefined) return;
  throw new StockpotError(
    'DEVICE',
    `device ${device} is not usable: ${what} on the processor only`,
    {
      remedy: 'Use --device cpu, or --device auto.',
    },
  );
}

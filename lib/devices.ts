import { arch, availableParallelism, cpus, platform } from 'node:os';
import { StockpotError } from './errors.js';
import { native } from './native.js';
import { version } from './version.js';

export interface Devices {
  stockpot: string;
  node: string;
  devices: {
    /** As `--device` takes it. */
    name: string;
    description: string;
    usable: boolean;
    /** Why not, where it is not usable. */
    reason?: string;
    /** Variants of the averaging kernel that this processor runs, the one in use first. */
    kernels?: string[];
    threads?: number;
  }[];
}

/** What stockpot can compute on here, and why not on the rest. */
export function devices(): Devices {
  return {
    stockpot: version,
    node: process.version,
    devices: [
      {
        name: 'cpu',
        description: `${cpus()[0]?.model.trim() ?? 'unknown processor'} (${platform()}-${arch()})`,
        usable: true,
        kernels: native().variants(),
        threads: availableParallelism(),
      },
      {
        name: 'cuda',
        description: 'NVIDIA GPUs',
        usable: false,
        reason: 'this version has no CUDA backend',
      },
    ],
  };
}

/**
 * Refuses a device that is not there; `auto` takes what there is, a named device never falls back.
 * @throws StockpotError USAGE, DEVICE
 */
export function requireDevice(name = 'auto'): void {
  if (name === 'auto' || name === 'cpu') return;
  if (!/^cuda(:\d+)?$/.test(name)) {
    throw new StockpotError(
      'USAGE',
      `expected --device to be auto, cpu, cuda or cuda:N but received ${name}`,
    );
  }
  const reason = devices().devices.find((d) => d.name === 'cuda')?.reason;
  throw new StockpotError('DEVICE', `device ${name} is not usable: ${reason}`, {
    remedy: 'Use --device cpu, or --device auto.',
  });
}

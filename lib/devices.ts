import { arch, availableParallelism, cpus, platform } from 'node:os';
import { type CudaDevice, probeCuda } from './cuda.js';
import { native } from './native.js';
import { version } from './version.js';

/** What can be computed on here. */
export interface Devices {
  /** Versions. */
  stockpot: string;
  node: string;
  devices: {
    /** As `--device` takes it. */
    name: string;
    description: string;
    usable: boolean;
    /** Why not, where it is not usable. */
    reason?: string;
    /** What it cannot be used for, though it is usable. */
    note?: string;
    /** Variants of the averaging kernel that this processor runs, the one in use first. */
    kernels?: string[];
    /** That it runs at once. */
    threads?: number;
    /** Of a GPU, in bytes. */
    memoryTotal?: number;
    memoryFree?: number;
    /** The backend library that was tried. */
    library?: string;
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
      ...cudaDevices(),
    ],
  };
}

function cudaDevices(): Devices['devices'] {
  const { library, reason, driverVersion = 0, matmulMessage, devices } = probeCuda();
  if (reason !== undefined)
    return [{ name: 'cuda', description: 'NVIDIA GPUs', usable: false, reason, library }];
  return devices.map((d, i) => ({
    name: `cuda:${i}`,
    description: describe(d, driverVersion),
    usable: d.status === 'ok',
    ...(d.status === 'ok' ? {} : { reason: d.message }),
    ...(matmulMessage ? { note: matmulMessage } : {}),
    memoryTotal: d.memoryTotal,
    memoryFree: d.memoryFree,
    library,
  }));
}

const describe = (d: CudaDevice, driver: number): string =>
  `${d.name}, ${(d.memoryTotal / 1e9).toFixed(1)} GB (${(d.memoryFree / 1e9).toFixed(1)} free), ` +
  `compute capability ${d.capability}, driver for CUDA ${Math.floor(driver / 1000)}.${Math.floor((driver % 1000) / 10)}`;

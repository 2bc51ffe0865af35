import { existsSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import type * as Ort from 'onnxruntime-node';
import { StockpotError } from '../errors.js';

const require = createRequire(import.meta.url);
let loaded: typeof Ort | undefined;

/**
 * ONNX Runtime, which is an optional package.
 * @throws StockpotError NATIVE where it is not installed or does not load
 */
export function onnxRuntime(): typeof Ort {
  if (loaded) return loaded;
  try {
    loaded = require('onnxruntime-node') as typeof Ort;
    return loaded;
  } catch (cause) {
    const missing = (cause as NodeJS.ErrnoException).code === 'MODULE_NOT_FOUND';
    const why = missing
      ? 'is not installed'
      : `does not load: ${(cause as Error).message.split('\n')[0]}`;
    throw new StockpotError('NATIVE', `a graph needs the package onnxruntime-node, which ${why}`, {
      cause,
      remedy:
        'Install it with: npm install onnxruntime-node --onnxruntime-node-install=skip (skip leaves out the CUDA libraries, which only --device cuda needs).',
    });
  }
}

/** Whether the CUDA libraries of ONNX Runtime lie where it looks for them. */
function hasCuda(): boolean {
  try {
    const folder = dirname(require.resolve('onnxruntime-node/package.json'));
    return existsSync(
      join(
        folder,
        'bin',
        'napi-v6',
        process.platform,
        process.arch,
        'libonnxruntime_providers_cuda.so',
      ),
    );
  } catch {
    return false;
  }
}

export type Providers = Ort.InferenceSession.ExecutionProviderConfig[];

/**
 * What a device stands for: `auto` takes CUDA where its libraries are, a named device never falls back.
 * @throws StockpotError DEVICE, USAGE
 */
export function providersFor(device = 'auto'): Providers {
  const [, kind, number = '0'] = /^(auto|cpu|cuda)(?::(\d+))?$/.exec(device) ?? [];
  if (kind === undefined || (kind !== 'cuda' && device.includes(':'))) {
    throw new StockpotError(
      'USAGE',
      `expected --device to be auto, cpu, cuda or cuda:N but received ${device}`,
    );
  }
  if (kind === 'cpu') return ['cpu'];
  if (hasCuda()) return [{ name: 'cuda', deviceId: Number(number) }, 'cpu'];
  if (kind === 'auto') return ['cpu'];
  throw new StockpotError(
    'DEVICE',
    `device ${device} is not usable for a graph: ONNX Runtime's CUDA libraries are not installed`,
    {
      remedy:
        'Install them with: npm install onnxruntime-node --onnxruntime-node-install=cuda12 (or cuda13), or use --device cpu.',
    },
  );
}

import { chooseDevice } from '../cuda.js';
import { StockpotError } from '../errors.js';
import { type DeviceHandle, native } from '../native.js';
import { availableMemory } from './available_memory.js';

/** Memory that counts as taken until it is released. */
export interface Taken {
  release(): void;
}

/** What networks are run on: the processor, or a GPU. */
export interface Engine {
  /** Of a GPU, for the calls of the addon that make networks and hold ingredients. */
  readonly device?: DeviceHandle;
  /** Batches of a network that are under way at a time: a device has the next one while one is looked at. */
  readonly ahead: number;
  /** Bytes that it can give now. */
  available(): number;
  /** Of these, what is left for a network of a run that may hold `limit`. */
  room(limit: number): number;
  /** Bytes that the networks of this process hold there already, as far as they count against a run's limit. */
  held(): number;
  /** Counts bytes as a network's; null where there are not so many left. */
  take(bytes: number, limit: number): Taken | null;
  /** Lets a GPU go when nothing on it is left. */
  close(): void;
}

export const processor: Engine = {
  ahead: 1,
  available: availableMemory,
  room: (limit) => native().roomForNetwork(limit),
  held: () => native().memoryHeld().networks,
  take(bytes, limit) {
    const held = native().holdMemory(bytes, limit);
    return held && { release: () => native().releaseMemory(held) };
  },
  close() {},
};

/** Of a device's free memory, left alone: what the driver and matrix products take beside. */
const SPARE = 0.05;

/** Types of a device's networks, as native/backend/backend.h numbers them. */
const PRECISIONS = ['f32', 'bf16', 'f16'] as const;

/** What a network's values and matrices are held in; in `f32` a GPU decides as the processor does. */
export type Precision = (typeof PRECISIONS)[number];

/**
 * What `--device` names; `auto` is the processor.
 * @throws StockpotError USAGE, DEVICE
 */
export function openEngine(name?: string, precision: Precision = 'f32'): Engine {
  const number = PRECISIONS.indexOf(precision);
  if (number < 0) {
    throw new StockpotError(
      'USAGE',
      `expected precision to be one of ${PRECISIONS.join(', ')} but received ${precision}`,
    );
  }
  const chosen = chooseDevice(name);
  if (!chosen) {
    if (precision === 'f32') return processor;
    throw new StockpotError('USAGE', `the processor runs networks in f32, not in ${precision}`, {
      remedy: 'Leave precision out, or name a GPU with device.',
    });
  }
  const device = onDevice(() => native().openDevice(chosen.library, chosen.index, number));
  const available = () => Math.floor(onDevice(() => native().deviceMemory(device)) * (1 - SPARE));
  return {
    device,
    ahead: 2,
    available,
    room: (limit) => Math.min(limit, available()),
    held: () => 0,
    take: (bytes) => (bytes <= available() ? { release() {} } : null),
    close: () => native().closeDevice(device),
  };
}

/**
 * Makes a StockpotError of what a device refuses; a RangeError, where memory is short, stays.
 * @throws StockpotError DEVICE
 */
export function onDevice<T>(call: () => T): T {
  try {
    return call();
  } catch (cause) {
    if (cause instanceof RangeError || !(cause as { device?: boolean }).device) throw cause;
    throw new StockpotError('DEVICE', `the device failed: ${(cause as Error).message}`, {
      cause,
      remedy: 'Use --device cpu.',
    });
  }
}

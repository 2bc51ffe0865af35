import { native } from './native.js';

/** Bytes of the memory that all calls of this process share (option `memory`), as they are held now. */
export interface MemoryHeld {
  /** Of calls that run: what they read into and write from. */
  buffers: number;
  /** Weights, activations and gradients of open evaluators, and ingredients that are kept in memory. */
  networks: number;
}

/** What stockpot holds of its memory budget in this process, worker threads included: for metrics of a service. */
export function memoryHeld(): MemoryHeld {
  return native().memoryHeld();
}

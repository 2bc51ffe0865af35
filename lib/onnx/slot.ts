import type { Matched } from '../merge/match.js';
import type { OnnxNode } from './model.js';
import type { KnownTensor } from './tensors.js';

/** A tensor inside a graph that may be a weight: an initializer, or a node whose output has a fixed value. */
export interface Slot extends Pick<KnownTensor, 'name' | 'dtype' | 'shape'> {
  /** Where its elements are. */
  tensor: KnownTensor;
  /** The Constant or Identity that an initializer takes the place of. */
  node?: OnnxNode;
}

/** A slot and the soup's tensor that goes there. */
export interface GraphWeight {
  slot: Slot;
  tensor: Matched;
  /** The slot is the tensor with its two dimensions swapped. */
  transposed: boolean;
}

/** One labelled image as it lies in a folder or a shard, not decoded yet. */
export interface RawExample {
  /** Path of the image; for one in a shard, SHARD:NAME. */
  file: string;
  label: number;
  /** Bytes of the file, where they are known before it is read. */
  size: number;
  load(): Promise<Buffer>;
}

/** What stands where an example should: it is reported, or skipped, as an image that does not decode is. */
export interface BrokenExample {
  file: string;
  problem: string;
}

/** Labelled images in the order that a data set has them in. */
export interface ExampleSource {
  /** As it was given. */
  path: string;
  classNames?: readonly string[];
  notes: readonly string[];
  /** Bytes that are read in all. */
  bytes: number;
  examples(signal?: AbortSignal): AsyncIterable<RawExample | BrokenExample>;
}

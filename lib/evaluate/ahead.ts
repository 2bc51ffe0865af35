/**
 * Results in the order of `items`, `depth` of them under way at a time: while one is looked at, the next ones are worked
 * on already. With a depth of 1 nothing is begun before it is asked for. Whoever leaves early, or fails, waits until what
 * was begun is over.
 */
export async function* inOrder<T, R>(
  items: Iterable<T>,
  depth: number,
  work: (item: T) => Promise<R>,
): AsyncGenerator<R, void, void> {
  const running: Promise<R>[] = [];
  try {
    for (const item of items) {
      const result = work(item);
      // Whoever takes it learns of its failure; one that is dropped fails unheard.
      result.catch(() => {});
      running.push(result);
      if (running.length >= depth) yield await (running.shift() as Promise<R>);
    }
    while (running.length > 0) yield await (running.shift() as Promise<R>);
  } finally {
    await Promise.allSettled(running);
  }
}

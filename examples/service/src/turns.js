/** Runs no more than some pieces of work at a time; the others wait, first come, first served. */
export class Turns {
  #free;
  #waiting = [];

  /** @param {number} most */
  constructor(most) {
    this.#free = most;
  }

  /** @template T @param {() => Promise<T>} work @returns {Promise<T>} */
  async run(work) {
    if (this.#free > 0) this.#free--;
    else await new Promise((resolve) => this.#waiting.push(resolve));
    try {
      return await work();
    } finally {
      const next = this.#waiting.shift();
      if (next) next();
      else this.#free++;
    }
  }
}

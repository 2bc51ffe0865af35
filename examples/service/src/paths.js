// Which files a job may read: those under the configured roots, wherever links lead.
import { opendir, realpath, stat } from 'node:fs/promises';
import { basename, dirname, join, normalize, sep } from 'node:path';
import { Refusal } from './problem.js';

/** Entries that one path may have below it. */
const MOST_ENTRIES = 2_000_000;

/** Folders of sentence-transformers, which belong to the checkpoint beside them. */
const MODULE = /^\d+_[A-Za-z]+$/;

const within = (path, root) => path === root || path.startsWith(root === sep ? sep : root + sep);

export class Roots {
  /** @param {{ path: string, real: string }[]} roots as configured, and with links resolved */
  constructor(roots) {
    this.roots = roots;
  }

  refuse(path) {
    return new Refusal(
      403,
      'PATH',
      `${path}: lies outside of the folders that this service may read`,
      { file: path },
    );
  }

  /**
   * The path, without links but for a file's own, of something under a root, all of whose links stay under the roots.
   * @param {string} path absolute
   * @throws Refusal; for what is outside the same one whether it exists or not
   */
  async resolve(path) {
    if (path.includes('\0')) throw this.refuse(JSON.stringify(path));
    // Judged by its name first, so that nobody learns from the answer what lies elsewhere.
    const name = normalize(path).replace(/(.)\/+$/, '$1');
    if (!this.roots.some((r) => within(name, r.path) || within(name, r.real)))
      throw this.refuse(path);
    const real = await this.real(name, path);
    const found = { entries: 0, seen: new Set() };
    if (await this.isFolder(real, path)) {
      await this.checkBelow(real, path, found);
      return real;
    }
    // A file keeps its name, and what lies beside it: the hub's cache links to files without names.
    const folder = await this.real(dirname(name), path);
    await this.checkBeside(folder, path, found);
    return join(folder, basename(name));
  }

  async real(path, given) {
    const real = await realpath(path).catch((cause) => {
      const missing = cause.code === 'ENOENT' || cause.code === 'ENOTDIR';
      throw missing
        ? new Refusal(422, 'NOT_FOUND', `${given}: there is no such file or folder`, {
            file: given,
          })
        : new Refusal(422, 'IO', `${given}: cannot be read (${cause.code})`, { file: given });
    });
    if (!this.roots.some((r) => within(real, r.real))) throw this.refuse(given);
    return real;
  }

  async isFolder(path, given) {
    const info = await stat(path);
    if (info.isDirectory()) return true;
    if (info.isFile()) return false;
    throw new Refusal(422, 'NOT_FOUND', `${given}: is neither a file nor a folder`, {
      file: given,
    });
  }

  /** All below a folder, through the links in it. */
  async checkBelow(folder, given, found) {
    if (found.seen.has(folder)) return;
    found.seen.add(folder);
    for await (const entry of await opendir(folder)) {
      if (++found.entries > MOST_ENTRIES)
        throw new Refusal(422, 'TOO_LARGE', `${given}: holds more than ${MOST_ENTRIES} files`, {
          file: given,
        });
      const path = join(folder, entry.name);
      if (entry.isDirectory()) await this.checkBelow(path, given, found);
      else if (entry.isSymbolicLink()) {
        const real = await this.real(path, path);
        if (await this.isFolder(real, path)) await this.checkBelow(real, given, found);
      }
    }
  }

  /** What stockpot takes from beside a file: its config, tokenizer and modules. */
  async checkBeside(folder, given, found) {
    for await (const entry of await opendir(folder)) {
      const path = join(folder, entry.name);
      const module = MODULE.test(entry.name);
      if (entry.isDirectory() && module) await this.checkBelow(path, given, found);
      if (!entry.isSymbolicLink()) continue;
      const info = await stat(path).catch(() => null);
      if (info?.isDirectory() && !module) continue;
      const real = await this.real(path, path);
      if (module && info.isDirectory()) await this.checkBelow(real, given, found);
    }
  }
}

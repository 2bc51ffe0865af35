import { constants, type Stats } from 'node:fs';
import {
  chmod,
  copyFile,
  cp,
  type FileHandle,
  lstat,
  open,
  readdir,
  realpath,
  rename,
  rm,
  rmdir,
  stat,
  statfs,
  writeFile,
} from 'node:fs/promises';
import { basename, dirname, join, resolve } from 'node:path';
import { StockpotError } from '../errors.js';
import { native } from '../native.js';
import { claim, hold, removeLeft } from './claim.js';
import { makeFolders, syncFolder, syncTree } from './folders.js';
import { isSideFile } from './side_files.js';
import { fileError } from './system_error.js';
import { guard, unguard } from './unfinished.js';
import { isFull, noSpace, writeError } from './writing.js';

/** A name ending in .safetensors is a file; anything else is a folder. */
export const isFileOutput = (path: string): boolean => path.endsWith('.safetensors');

export interface OutputOptions {
  overwrite?: boolean;
  /** Paths that must never be replaced: the ingredients' files and folders. */
  inputs: readonly string[];
  /** Whether it is a file; by its name by default. */
  isFile?: boolean;
  /** Whether a folder with these names in it may be replaced, where it holds more than a checkpoint. */
  mayReplace?: (names: readonly string[]) => boolean;
}

const lstatOrNull = (path: string): Promise<Stats | null> => lstat(path).catch(() => null);

/**
 * An output that appears whole or not at all (behaviour 22): everything is written to a temporary sibling, synced, and
 * put in place by one rename. The sibling's name is fixed and it is locked, so that two runs to one output collide, and
 * what a killed run left is recognised (nobody holds its lock) and removed.
 */
export class AtomicOutput {
  readonly isFile: boolean;
  /** The sibling: a file, or a folder. */
  readonly partial: string;
  /** Where a replaced folder is for a moment, on file systems that cannot exchange two. */
  private readonly aside: string;
  private lock: FileHandle | undefined;
  private handles: FileHandle[] = [];

  /** The uppermost folder that was made for the output, if any. */
  private made: string | undefined;

  /** @param target what `path` stands for: a link's target is replaced, the link stays */
  private constructor(
    readonly path: string,
    private readonly target: string,
    private readonly options: OutputOptions,
  ) {
    this.isFile = options.isFile ?? isFileOutput(path);
    this.partial = join(dirname(target), `.${basename(target)}.stockpot-partial`);
    this.aside = `${this.partial}-old`;
  }

  /**
   * Refuses what must not be written, without touching anything.
   * @throws StockpotError OUTPUT, USAGE
   */
  static async check(path: string, options: OutputOptions): Promise<void> {
    const refuse = (message: string, remedy: string) =>
      new StockpotError('OUTPUT', `${path}: ${message}`, { file: path, remedy });
    // An unset variable of a script, mostly: it would stand for the current folder.
    if (path === '')
      throw new StockpotError('USAGE', 'expected the name of an output but received ""');
    if (basename(resolve(path)) === '')
      throw refuse('is no name for an output', 'Name a new file or folder.');
    const there = await realpath(path).catch(() => null);
    for (const input of options.inputs) {
      const real = await realpath(input).catch(() => null);
      if (there !== null && (real === there || real?.startsWith(`${there}/`))) {
        throw refuse(
          'is an input of this run',
          'Choose another output; an input is never overwritten.',
        );
      }
    }
    const info = await lstatOrNull(path);
    if (!info) return;
    if (!options.overwrite)
      throw refuse('exists already', 'Choose another output, or pass --overwrite.');
    const target = info.isSymbolicLink() ? await stat(path).catch(() => info) : info;
    if (!target.isFile() && !target.isDirectory() && !target.isSymbolicLink())
      throw refuse('is no regular file', 'Choose another output.');
    if ((options.isFile ?? isFileOutput(path)) !== !target.isDirectory()) {
      throw refuse(
        `is a ${target.isDirectory() ? 'folder' : 'file'}`,
        options.isFile === undefined
          ? 'An output named *.safetensors is a file, any other a folder.'
          : `Choose another output: it would be a ${options.isFile ? 'file' : 'folder'}.`,
      );
    }
    if (target.isDirectory()) {
      const names = await readdir(path);
      const foreign = names.filter((n) => !isSideFile(n) && !isOwnFile(n));
      if (foreign.length > 0 && !options.mayReplace?.(names)) {
        throw refuse(
          `holds files that are no part of a checkpoint (${foreign.slice(0, 3).join(', ')}${foreign.length > 3 ? ', …' : ''})`,
          'It is not overwritten, so that nothing is lost: choose another output, or remove it yourself.',
        );
      }
    }
  }

  /** Makes the sibling and locks it. @throws StockpotError OUTPUT, IO */
  static async begin(path: string, options: OutputOptions): Promise<AtomicOutput> {
    await AtomicOutput.check(path, options);
    const target = await realpath(path).catch(() => resolve(path));
    const self = new AtomicOutput(path, target, options);
    try {
      self.made = await makeFolders(dirname(target));
      for (let attempt = 0; attempt < 100; attempt++) {
        const claimed = await claim(self.partial, self.isFile);
        if (claimed === 'held') throw self.busy();
        if (claimed === 'again') continue;
        self.lock = claimed;
        guard(self.partial);
        await self.recover();
        return self;
      }
    } catch (cause) {
      if (self.lock) await self.abandon();
      else await self.removeMade();
      throw self.refused(cause);
    }
    throw new StockpotError('OUTPUT', `${path}: ${self.partial} keeps appearing and disappearing`, {
      file: path,
    });
  }

  private busy(): StockpotError {
    return new StockpotError('OUTPUT', `${this.path}: another run is writing this output`, {
      file: this.path,
      remedy: `Wait for it, or choose another output. (If there is none: remove ${this.partial}.)`,
    });
  }

  private refused(cause: unknown): StockpotError {
    return writeError(this.path, cause);
  }

  /**
   * What a run left that was killed between the two renames of `putInPlace`: the old output goes back to its place
   * where nothing is there now, else it is removed.
   */
  private async recover(): Promise<void> {
    if (this.isFile || !(await lstatOrNull(this.aside))) return;
    if (await lstatOrNull(this.target)) {
      await removeLeft(this.aside);
      return;
    }
    await rename(this.aside, this.target);
    await AtomicOutput.check(this.path, this.options);
  }

  /** @throws StockpotError NO_SPACE where the disk has not room for so many bytes */
  async needRoom(bytes: number): Promise<void> {
    const { bavail, bsize } = await statfs(dirname(this.partial));
    if (bavail * bsize < bytes) {
      throw noSpace(this.path, `needs ${bytes} bytes but the disk has ${bavail * bsize} left`);
    }
  }

  /** Opens the file that will be OUT (or OUT/name) for writing. */
  async create(name: string): Promise<FileHandle> {
    if (this.isFile) return this.lock as FileHandle;
    const handle = await open(join(this.partial, name), 'wx').catch((cause) => {
      throw this.refused(cause);
    });
    this.handles.push(handle);
    return handle;
  }

  /**
   * Writes a file of these parts, and syncs it.
   * @param name in a folder; of no account where the output is a file
   * @throws StockpotError IO, NO_SPACE
   */
  async writeParts(name: string, parts: readonly Uint8Array[]): Promise<void> {
    const handle = await this.create(name);
    await this.writing(async () => {
      for (const part of parts) await handle.writeFile(part);
      await handle.sync();
    });
  }

  /** Runs what writes to a file of this output; its failures name the output. @throws StockpotError IO, NO_SPACE */
  async writing(work: () => Promise<void>): Promise<void> {
    await work().catch((cause) => {
      throw this.refused(cause);
    });
  }

  /** Adds a small file to a folder. */
  async write(name: string, text: string): Promise<void> {
    await writeFile(join(this.partial, name), text, { flush: true } as object).catch((cause) => {
      throw this.refused(cause);
    });
  }

  /** Copies a side file or folder of the donor into a folder. */
  async copy(from: string, name: string): Promise<void> {
    const to = join(this.partial, name);
    const { mode } = await stat(from).catch((cause) => {
      throw fileError(from, cause);
    });
    try {
      if ((mode & constants.S_IFMT) === constants.S_IFDIR)
        await cp(from, to, { recursive: true, dereference: true });
      else await copyFile(from, to);
    } catch (cause) {
      if (isFull(cause)) throw this.refused(cause);
      const { code, message, remedy } = fileError(from, cause);
      throw new StockpotError(code, `${message} (it is copied to ${this.path})`, {
        file: from,
        cause,
        remedy,
      });
    }
    await this.writing(async () => {
      // A copy of a read-only file is the user's own to change.
      await chmod(to, mode | 0o200);
      await syncTree(to);
    });
  }

  /** Puts everything in place. The native writer has synced the weights. */
  async commit(): Promise<void> {
    try {
      await this.closeHandles();
      if (!this.isFile) await syncFolder(this.partial);
      await AtomicOutput.check(this.path, this.options); // what happened meanwhile?
      if (this.isFile || !(await lstatOrNull(this.target))) {
        await rename(this.partial, this.target);
        await this.inPlace('the disk may not keep it', () => syncFolder(dirname(this.partial)));
      } else {
        await this.replaceFolder();
      }
      unguard(this.partial);
    } catch (cause) {
      throw this.refused(cause);
    }
    await this.lock?.close();
    this.lock = undefined;
  }

  /** What is left to do when the output is in place. @throws StockpotError IO which says so */
  private async inPlace(but: string, work: () => Promise<void>): Promise<void> {
    await work().catch((cause) => {
      const { message, remedy } = fileError(dirname(this.target), cause);
      throw new StockpotError('IO', `${this.path}: is in place, but ${but}: ${message}`, {
        file: this.path,
        cause,
        remedy,
      });
    });
  }

  /**
   * Where the file system can, both folders change places in one step, so that at every moment the old or the new is
   * there, whole. The old one is locked meanwhile: what then lies under the temporary name is no killed run's.
   */
  private async replaceFolder(): Promise<void> {
    const { target, partial, aside } = this;
    const old = await hold(target);
    if (old === 'held') throw this.busy();
    try {
      const exchanged = native().exchange(partial, target);
      if (!exchanged) {
        await rename(target, aside);
        await rename(partial, target).catch(async (cause) => {
          await rename(aside, target);
          throw cause;
        });
      }
      // Before what it replaces is gone.
      await this.inPlace('the disk may not keep it', () => syncFolder(dirname(partial)));
      await this.inPlace('what it replaced cannot be removed', () =>
        rm(exchanged ? partial : aside, { recursive: true, force: true }),
      );
    } finally {
      await old?.close();
    }
  }

  /** Removes all traces. Safe to call after commit. */
  async abandon(): Promise<void> {
    await this.closeHandles();
    if (!this.lock) return;
    // Where that fails, why the output was given up is more to the point.
    await rm(this.partial, { recursive: true, force: true }).catch(() => {});
    unguard(this.partial);
    await this.lock.close();
    this.lock = undefined;
    await this.removeMade();
  }

  /** Removes the folders that were made for the output, as far as they are empty. */
  private async removeMade(): Promise<void> {
    if (this.made === undefined) return;
    for (
      let folder = dirname(this.target);
      folder.startsWith(this.made);
      folder = dirname(folder)
    ) {
      const removed = await rmdir(folder).then(
        () => true,
        () => false,
      );
      if (!removed) return;
    }
  }

  private async closeHandles(): Promise<void> {
    const handles = this.handles;
    this.handles = [];
    await Promise.all(handles.map((h) => h.close()));
  }
}

/** Names that stockpot itself gives to files of an output folder. */
const isOwnFile = (name: string): boolean =>
  /^model(-\d+-of-\d+)?\.safetensors(\.index\.json)?$/.test(name) || name === RECORD_FILE;

/** The record of a soup, in its folder. */
export const RECORD_FILE = 'soup.json';

// Jobs on disk: a folder each, whose job.json says what must survive. Written whole or not at all, and synced.
import { mkdir, open, readdir, readFile, rename, rm } from 'node:fs/promises';
import { join } from 'node:path';

const REMOVED = '.removed-';

async function sync(folder) {
  const handle = await open(folder, 'r');
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}

/** A small file that appears whole, also where the machine fails. */
export async function writeWhole(folder, name, text) {
  const partial = join(folder, `.${name}.partial`);
  const handle = await open(partial, 'w', 0o600);
  try {
    await handle.writeFile(text);
    await handle.sync();
  } finally {
    await handle.close();
  }
  await rename(partial, join(folder, name));
  await sync(folder);
}

export class Journal {
  /** Writes of a job go one after the other. */
  #last = new Map();

  /** @param {string} folder where the jobs' folders are */
  constructor(folder) {
    this.folder = folder;
  }

  folderOf(id) {
    return join(this.folder, id);
  }

  /** All jobs, oldest first. What a killed service had begun to write or to remove is cleared away. */
  async open(log) {
    await mkdir(this.folder, { recursive: true, mode: 0o700 });
    const jobs = [];
    for (const id of await readdir(this.folder)) {
      if (id.startsWith(REMOVED)) {
        await rm(this.folderOf(id), { recursive: true, force: true });
        continue;
      }
      const text = await readFile(join(this.folderOf(id), 'job.json'), 'utf8').catch((e) => {
        if (e.code !== 'ENOENT') throw e;
      });
      // Nobody was told of a job whose first entry had not been written.
      if (text === undefined) await rm(this.folderOf(id), { recursive: true, force: true });
      else {
        try {
          jobs.push(JSON.parse(text));
        } catch {
          log.error({ id }, 'job.json is damaged; the job is left as it is, and not shown');
        }
      }
    }
    return jobs.sort((a, b) => a.sequence - b.sequence);
  }

  /** @param {object} job is written as it is now */
  async write(job) {
    const text = `${JSON.stringify(job)}\n`;
    const folder = this.folderOf(job.id);
    await this.#inTurn(job.id, async () => {
      if (await mkdir(folder, { recursive: true, mode: 0o700 })) await sync(this.folder);
      await writeWhole(folder, 'job.json', text);
    });
  }

  async remove(id) {
    await this.#inTurn(id, async () => {
      // In one step: a folder that is half removed is none of a job any more.
      const removed = this.folderOf(`${REMOVED}${id}`);
      await rename(this.folderOf(id), removed);
      await sync(this.folder);
      await rm(removed, { recursive: true, force: true });
    });
  }

  async #inTurn(id, write) {
    const mine = (this.#last.get(id) ?? Promise.resolve()).catch(() => {}).then(write);
    this.#last.set(id, mine);
    try {
      await mine;
    } finally {
      if (this.#last.get(id) === mine) this.#last.delete(id);
    }
  }
}

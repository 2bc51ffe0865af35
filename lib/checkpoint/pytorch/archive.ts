import type { FileHandle } from 'node:fs/promises';
import { Problem } from './problem.js';
import { show } from './show.js';
import { type Member, readExactly, readMembers } from './zip.js';

/** Longest `data.pkl`; those of real checkpoints have some hundred bytes a tensor. */
const MAX_PICKLE = 256 * 2 ** 20;

/** What torch.save puts into a zip archive, found by what it is. */
export interface Archive {
  /** The bytes of `data.pkl`. */
  readonly pickle: Buffer;
  /** The entry with a storage's bytes; throws a Problem where there is none that can be read in place. */
  storage(key: string): Member;
}

/**
 * Reads the structure of an archive of torch.save; the top folder may have any name.
 *
 * @throws {Problem | StockpotError} UNSUPPORTED for a TorchScript archive, another zip file, compressed entries and
 *   big-endian data; FORMAT, CHANGED and IO as `readMembers` does
 */
export async function readArchive(
  handle: FileHandle,
  path: string,
  size: number,
): Promise<Archive> {
  const members = await readMembers(handle, path, size);
  const root = findRoot(members);
  const read = (member: Member) =>
    readExactly(handle, path, size, stored(member).offset, member.size);

  const order = members.get(`${root}/byteorder`);
  // Absent from files of PyTorch before 2.1.
  if (order) checkByteOrder(order.size > 16 ? '' : (await read(order)).toString('latin1'));
  const pickle = members.get(`${root}/data.pkl`) as Member;
  if (pickle.size > MAX_PICKLE) {
    throw new Problem(
      'FORMAT',
      `expected at most ${MAX_PICKLE} bytes in data.pkl, found ${pickle.size}`,
    );
  }
  return {
    pickle: await read(pickle),
    storage(key) {
      const member = members.get(`${root}/data/${key}`);
      if (member) return stored(member);
      throw new Problem('FORMAT', `expected storage ${show(key)} in the archive, found none`);
    },
  };
}

/** The top folder: the one with `data.pkl`. */
function findRoot(members: ReadonlyMap<string, Member>): string {
  const roots: string[] = [];
  for (const name of members.keys()) {
    const root = /^([^/]+)\/data\.pkl$/.exec(name)?.[1];
    if (root !== undefined) roots.push(root);
  }
  const [root, second] = roots;
  if (root === undefined) {
    throw new Problem(
      'UNSUPPORTED',
      'expected a zip archive of torch.save, found one without data.pkl',
      're-save the weights with torch.save(model.state_dict(), FILE), or as safetensors',
    );
  }
  if (second !== undefined) {
    throw new Problem(
      'FORMAT',
      `expected one data.pkl, found one in ${show(root)} and one in ${show(second)}`,
    );
  }
  const isScript =
    members.has(`${root}/constants.pkl`) ||
    [...members.keys()].some((name) => name.startsWith(`${root}/code/`));
  if (isScript) {
    throw new Problem(
      'UNSUPPORTED',
      'expected a zip archive of torch.save, found a TorchScript archive (torch.jit.save), which holds code',
      're-save only the weights: torch.save(torch.jit.load(FILE).state_dict(), NEW_FILE)',
    );
  }
  return root;
}

function checkByteOrder(order: string): void {
  if (order === 'little') return;
  if (order === 'big') {
    throw new Problem(
      'UNSUPPORTED',
      'expected little-endian data, found big-endian (the entry byteorder)',
      're-save it on a little-endian machine',
    );
  }
  throw new Problem('FORMAT', "expected 'little' in the entry byteorder, found something else");
}

/** The member, if its bytes lie in the file as they are. */
function stored(member: Member): Member {
  if (!member.compressed) return member;
  throw new Problem(
    'UNSUPPORTED',
    `expected stored entries, found ${show(member.name)} compressed: the archive was zipped again`,
    're-save it with torch.save(torch.load(FILE, weights_only=True), NEW_FILE)',
  );
}

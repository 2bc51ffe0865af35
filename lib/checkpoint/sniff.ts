import { type ErrorCode, StockpotError } from '../errors.js';
import type { CheckpointFormat } from './types.js';

/** What the first bytes of a file say it is. */
export type FileKind =
  | 'zip'
  | 'safetensors'
  | 'pickle'
  | 'tar'
  | 'gzip'
  | 'gguf'
  | 'hdf5'
  | 'lfs'
  | 'html'
  | 'empty'
  | 'unknown';

/** How many first bytes `sniff` wants to see; fewer are fine when the file is shorter. */
export const SNIFF_BYTES = 512;

const startsWith = (bytes: Buffer, magic: string): boolean =>
  bytes.subarray(0, magic.length).equals(Buffer.from(magic, 'latin1'));

/**
 * A little-endian 64-bit header length and an opening brace. Lengths that no header reaches do not count,
 * so eight bytes of text are never taken for one.
 */
const looksLikeSafetensors = (bytes: Buffer): boolean =>
  bytes.length >= 9 && bytes.readUInt32LE(4) === 0 && bytes[8] === 0x7b;

/** Says from a file's first bytes what kind of file it is; a guess for a message, not a validation. */
export function sniff(firstBytes: Buffer): FileKind {
  if (firstBytes.length === 0) return 'empty';
  // First: a header length may begin with the magic of any other kind (640 begins as a pickle does).
  if (looksLikeSafetensors(firstBytes)) return 'safetensors';
  if (startsWith(firstBytes, 'PK\x03\x04') || startsWith(firstBytes, 'PK\x05\x06')) return 'zip';
  if (startsWith(firstBytes, 'GGUF')) return 'gguf';
  if (startsWith(firstBytes, '\x89HDF\r\n\x1a\n')) return 'hdf5';
  if (startsWith(firstBytes, '\x1f\x8b')) return 'gzip';
  if (startsWith(firstBytes, 'version https://git-lfs')) return 'lfs';
  const [first = 0, protocol = 0] = firstBytes;
  if (first === 0x80 && protocol >= 2 && protocol <= 5) return 'pickle';
  if (firstBytes.subarray(257, 262).toString('latin1') === 'ustar') return 'tar';
  const text = firstBytes.toString('latin1').replace(/^(\xef\xbb\xbf)?\s*/, '');
  if (/^<(!doctype|html|head|body|\?xml|!--)/i.test(text)) return 'html';
  return 'unknown';
}

const NAMES: Record<CheckpointFormat, string> = {
  safetensors: 'a safetensors file',
  pytorch: 'a PyTorch zip checkpoint',
};

const RESAVE =
  're-save it in PyTorch 1.6 or newer, torch.save(torch.load(FILE, weights_only=True), NEW_FILE), or as safetensors';

/** What was found, and what to do about it. */
const FOUND: Record<FileKind, { code: ErrorCode; found: string; remedy: string }> = {
  zip: {
    code: 'NOT_FOUND',
    found: 'a zip archive (as torch.save writes it)',
    remedy: 'name it .pt, .pth, .bin or .ckpt if it is a PyTorch checkpoint',
  },
  safetensors: {
    code: 'NOT_FOUND',
    found: 'a safetensors file with another extension',
    remedy: 'rename it to end in .safetensors',
  },
  pickle: {
    code: 'UNSUPPORTED',
    found: "a bare pickle (torch.save's legacy format, or another Python pickle)",
    remedy: RESAVE,
  },
  tar: {
    code: 'UNSUPPORTED',
    found: "a tar archive (torch.save's oldest format, or one that must be unpacked)",
    remedy: `unpack it if it is an archive of checkpoints; else ${RESAVE}`,
  },
  gzip: {
    code: 'UNSUPPORTED',
    found: 'a gzip-compressed file',
    remedy: 'decompress it first (gunzip, or tar -xzf)',
  },
  gguf: {
    code: 'UNSUPPORTED',
    found: 'a GGUF file, whose weights are usually quantised',
    remedy: 'use the original checkpoint that it was converted from',
  },
  hdf5: {
    code: 'UNSUPPORTED',
    found: 'an HDF5 file (as Keras writes it)',
    remedy: 'convert the weights to safetensors',
  },
  lfs: {
    code: 'NOT_FOUND',
    found: 'a Git LFS pointer: the weights themselves were not downloaded',
    remedy: 'run git lfs pull in its repository, or download the file itself',
  },
  html: {
    code: 'NOT_FOUND',
    found: 'an HTML page: the download gave a web page, not the weights',
    remedy: 'download it again from a link to the file itself, logged in if it needs that',
  },
  empty: {
    code: 'FORMAT',
    found: 'an empty file',
    remedy: 'save or download it again',
  },
  unknown: {
    code: 'FORMAT',
    found: 'bytes of no kind that is known',
    remedy: 'check that the download is complete and that this is the file with the weights',
  },
};

/**
 * The error for a file that is not of the kind it should be: says what was found and what to do
 * (behaviours 19, 20 and 31).
 */
export function refuseWrongKind(
  path: string,
  kind: FileKind,
  expected: CheckpointFormat,
): StockpotError {
  const { code, found, remedy } = FOUND[kind];
  return new StockpotError(code, `${path}: expected ${NAMES[expected]}, found ${found}`, {
    file: path,
    remedy,
  });
}

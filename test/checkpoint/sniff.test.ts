import { describe, expect, test } from 'vitest';
import { type FileKind, refuseWrongKind, sniff } from '../../lib/checkpoint/sniff.js';
import { StockpotError } from '../../lib/errors.js';

const tar = Buffer.alloc(512);
tar.write('ustar', 257);

const header = (length: number): Buffer => {
  const bytes = Buffer.alloc(10);
  bytes.writeBigUInt64LE(BigInt(length));
  bytes.write('{"', 8);
  return bytes;
};

const FIRST_BYTES: [FileKind, Buffer][] = [
  ['empty', Buffer.alloc(0)],
  ['zip', Buffer.from('PK\x03\x04\x00\x00', 'latin1')],
  ['zip', Buffer.from('PK\x05\x06', 'latin1')],
  ['safetensors', header(64)],
  // Lengths that begin as a pickle, a gzip file and a zip archive do.
  ['safetensors', header(0x0280)],
  ['safetensors', header(0x8b1f)],
  ['safetensors', header(0x04034b50)],
  ['pickle', Buffer.from('80028a0a6cfc9c46f9206aa850192e', 'hex')],
  ['pickle', Buffer.from('80045d2e', 'hex')],
  ['tar', tar],
  ['gzip', Buffer.from('1f8b0800', 'hex')],
  ['gguf', Buffer.from('GGUF\x03\x00\x00\x00', 'latin1')],
  ['hdf5', Buffer.from('894844460d0a1a0a', 'hex')],
  ['lfs', Buffer.from('version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 3\n')],
  ['html', Buffer.from('<!DOCTYPE html><html>')],
  ['html', Buffer.from('\ufeff\n  <html lang="en">')],
  ['unknown', Buffer.from('hello')],
  ['unknown', Buffer.from('<')],
  ['unknown', Buffer.from([0x80])],
];

describe('sniff', () => {
  test.each(FIRST_BYTES)('behaviour 20: %s', (kind, bytes) => {
    expect(sniff(bytes)).toBe(kind);
  });

  test('behaviour 20: every kind is refused with what was found and what to do', () => {
    for (const kind of new Set(FIRST_BYTES.map(([kind]) => kind))) {
      const error = refuseWrongKind('dir/w.pt', kind, 'pytorch');
      expect(error).toBeInstanceOf(StockpotError);
      expect(error.message).toMatch(/^dir\/w\.pt: expected a PyTorch zip checkpoint, found /);
      expect(error.message).not.toContain('\n');
      expect(error.file).toBe('dir/w.pt');
      expect(error.remedy).toBeTruthy();
    }
    expect(refuseWrongKind('w', 'lfs', 'safetensors').message).toContain('Git LFS pointer');
    expect(refuseWrongKind('w', 'html', 'safetensors').message).toContain('HTML page');
    expect(refuseWrongKind('w', 'zip', 'safetensors').code).toBe('NOT_FOUND');
  });
});

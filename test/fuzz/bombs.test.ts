import { mkdir, symlink, truncate } from 'node:fs/promises';
import { join } from 'node:path';
import { deflateRawSync, deflateSync } from 'node:zlib';
import { describe, expect, it } from 'vitest';
import { storedZip } from '../checkpoint/stored_zip.js';
import { finished, root, startScript } from '../helpers/cli.js';
import { useFolder } from '../helpers/folder.js';
import { put, putShards, putTensors, rawFile, tensor } from '../helpers/safetensors.js';
import { sanitized } from '../helpers/sanitized.js';

const at = useFolder();

/** Node with the library loaded takes some 80. */
const MOST_MEGABYTES = 700;

/** What a process says of an `expression` on `stockpot`: done, or the error; its message; and the peak of its memory. */
async function inProcess(
  expression: string,
): Promise<{ said: string; message: string; peak: number }> {
  const script = `
    let said = 'done', message = '';
    try { await (${expression}); } catch (e) { said = e.name + ' ' + e.code; message = e.message; }
    console.log(JSON.stringify({ said, message, peak: process.resourceUsage().maxRSS / 1024 }));`;
  const { code, signal, stdout, stderr } = await finished(startScript(script));
  expect([code, signal, stderr]).toEqual([0, null, '']);
  return JSON.parse(stdout);
}

async function refused(expression: string, code: string, message: RegExp, most = MOST_MEGABYTES) {
  const found = await inProcess(expression);
  expect(found.said, found.message).toBe(`StockpotError ${code}`);
  expect(found.message).toMatch(message);
  expect(found.message.length).toBeLessThan(9000);
  if (!sanitized) expect(found.peak).toBeLessThan(most);
}

const opens = (path: string) => `stockpot.openCheckpoint(${JSON.stringify(path)})`;

const evaluates = (model: string, data: string) =>
  `stockpot.evaluate([${JSON.stringify(model)}], { data: ${JSON.stringify(data)}, threads: 2 })`;
const digits = join(root, 'examples/digits/ingredients/ft00');

/** Zeros that a zip's entry unpacks to. */
const BOMB = 2 ** 30;

describe('archives', () => {
  it('a pickle that unpacks to a gigabyte', async () => {
    const chunk = deflateRawSync(Buffer.alloc(2 ** 24));
    const data = Buffer.concat(Array.from({ length: BOMB / 2 ** 24 }, () => chunk));
    const path = await put(at('bomb.pt'), storedZip([{ name: 'w/data.pkl', data, method: 8 }]));
    await refused(opens(path), 'UNSUPPORTED', /compressed/);
  });

  it('an entry that says it has more bytes than the file', async () => {
    const data = Buffer.from('\x80\x02}.', 'latin1');
    const path = await put(
      at('lie.pt'),
      storedZip([{ name: 'w/data.pkl', data, size: 0xfffffff0 }]),
    );
    await refused(opens(path), 'FORMAT', /reaching into|truncated|overlap|valid zip/);
  });

  it('entries that lie over one another', async () => {
    const data = Buffer.from('\x80\x02}.', 'latin1');
    const entries = Array.from({ length: 100 }, (_, i) => ({
      name: `w/data/${i}`,
      data,
      localOffset: 0,
    }));
    const path = await put(at('over.pt'), storedZip([{ name: 'w/data.pkl', data }, ...entries]));
    await refused(opens(path), 'FORMAT', /overlapping/);
  });

  it('a pickle of nothing but dicts', async () => {
    const data = Buffer.concat([
      Buffer.from([0x80, 2]),
      Buffer.alloc(2 ** 23, '}'),
      Buffer.from('.'),
    ]);
    const path = await put(at('dicts.pt'), storedZip([{ name: 'w/data.pkl', data }]));
    await refused(opens(path), 'FORMAT', /more than/, 1200);
  });
});

describe('JSON', () => {
  it('a header of a length that no file has', async () => {
    const path = await put(at('length.safetensors'), Buffer.alloc(64, 0xff));
    await refused(opens(path), 'FORMAT', /./);
    const header = Buffer.alloc(64);
    header.writeBigUInt64LE(100_000_000n);
    header.write('{', 8);
    await put(path, header);
    await refused(opens(path), 'FORMAT', /cut short/);
  });

  it('a header of 99 million spaces', async () => {
    const path = await put(at('spaces.safetensors'), rawFile(`{${' '.repeat(99e6)}}`));
    await refused(opens(path), 'FORMAT', /no tensor/);
  });

  it('a header of millions of keys', async () => {
    const keys = Array.from({ length: 4e6 }, (_, i) => `"k${i}":0`);
    const path = await put(at('keys.safetensors'), rawFile(`{${keys.join(',')}}`));
    await refused(opens(path), 'FORMAT', /more than \d+ keys/);
  });

  it('a name of 90 million characters', async () => {
    const path = await put(at('name.safetensors'), rawFile(`{"a":{"dtype":"${'x'.repeat(9e7)}"}}`));
    await refused(opens(path), 'UNSUPPORTED', /tensor "a"/, 1200);
  });

  it.each([300, 5000, 200_000])('values nested %i deep', async (depth) => {
    const deep = `${'['.repeat(depth)}${']'.repeat(depth)}`;
    const header = await put(at('deep.safetensors'), rawFile(`{"a":{"dtype":${deep}}}`));
    await refused(opens(header), 'FORMAT', /nested too deeply/);
    await put(at('deep/model.safetensors.index.json'), `{"weight_map":{"a":${deep}}}`);
    await refused(opens(at('deep')), 'FORMAT', /nested too deeply/);
    const rows = await put(at('rows.jsonl'), `{"text":"a","label":${deep}}\n`);
    await putTensors(at('model/model.safetensors'), [tensor('w', 'F32', [1], 1)]);
    await put(at('model/config.json'), `{"id2label":${deep}}`);
    await refused(evaluates(at('model'), rows), 'FORMAT', /nested too deeply/);
  });

  it('a configuration of 3 GB, which takes no room on the disk', async () => {
    await putTensors(at('large/model.safetensors'), [tensor('w', 'F32', [1], 1)]);
    for (const name of ['config.json', 'soup.json']) {
      const path = await put(at('large', name), '{}');
      await truncate(path, 3e9);
      await refused(opens(at('large')), 'FORMAT', /more than any real file/);
    }
  });

  it('keys that JavaScript knows', async () => {
    const names = ['__proto__', 'constructor', 'hasOwnProperty', 'toString'];
    const path = await putTensors(
      at('proto.safetensors'),
      names.map((n) => tensor(n, 'F32', [1], 1)),
      {
        metadata: { plain: 'x' },
      },
    );
    const soup = at('proto soup.safetensors');
    const script = `stockpot.uniform([${JSON.stringify(path)}, ${JSON.stringify(path)}], ${JSON.stringify(soup)}).then(async () => {
      const { tensors } = await stockpot.openCheckpoint(${JSON.stringify(soup)});
      const found = [...tensors.keys()].sort().join();
      if (found !== ${JSON.stringify([...names].sort().join())}) throw new Error(found);
      if (Object.keys(Object.prototype).length > 0 || ({}).dtype !== undefined) throw new Error('polluted');
    })`;
    expect((await inProcess(script)).message).toBe('');
  });
});

describe('paths', () => {
  it.each([
    '../outside.safetensors',
    '/etc/passwd',
    'a/../../x.safetensors',
    '..\\x.safetensors',
    '..',
    'x\0.safetensors',
  ])('an index that names %j', async (name) => {
    await putTensors(at('outside.safetensors'), [tensor('w', 'F32', [1], 1)]);
    const index = JSON.stringify({ weight_map: { w: name } });
    await put(at('index/model.safetensors.index.json'), index);
    await refused(opens(at('index')), 'FORMAT', /in the same folder/);
  });

  it('links of shards are followed, as the hub’s cache has them; loops are refused', async () => {
    const folder = await putShards(at('links'), [[tensor('a', 'F32', [1], 1)]]);
    const shard = 'model-00001-of-00001.safetensors';
    await putTensors(at('blobs/1'), [tensor('a', 'F32', [1], 1)]);
    const linked = at('snapshot');
    await mkdir(linked);
    await symlink(at('blobs/1'), join(linked, shard));
    await symlink(
      join(folder, 'model.safetensors.index.json'),
      join(linked, 'model.safetensors.index.json'),
    );
    expect((await inProcess(opens(linked))).said).toBe('done');
    const loop = at('loop');
    await mkdir(loop);
    await symlink(join(loop, 'b.safetensors'), join(loop, 'a.safetensors'));
    await symlink(join(loop, 'a.safetensors'), join(loop, 'b.safetensors'));
    await refused(opens(join(loop, 'a.safetensors')), 'IO', /go in a circle/);
  });

  it('a folder of classes that holds itself', async () => {
    const data = at('classes');
    await put(join(data, 'cat/x.png'), Buffer.alloc(10));
    await symlink(data, join(data, 'cat/again'));
    await symlink(data, join(data, 'dog'));
    const found = await inProcess(evaluates(digits, data));
    expect(found.said).toBe('StockpotError FORMAT');
    expect(found.message).toContain('x.png');
  });
});

describe('images', () => {
  /** A grey PNG of zeros, some thousandth of its size. */
  function png(width: number, height: number): Buffer {
    const crcs = Array.from({ length: 256 }, (_, n) => {
      let c = n;
      for (let k = 0; k < 8; k++) c = c & 1 ? 0xedb88320 ^ (c >>> 1) : c >>> 1;
      return c >>> 0;
    });
    const chunk = (type: string, body: Buffer) => {
      const bytes = Buffer.concat([Buffer.from(type), body]);
      let crc = 0xffffffff;
      for (const b of bytes) crc = (crcs[(crc ^ b) & 255] as number) ^ (crc >>> 8);
      const ends = Buffer.alloc(8);
      ends.writeUInt32BE(body.length, 0);
      ends.writeUInt32BE((crc ^ 0xffffffff) >>> 0, 4);
      return Buffer.concat([ends.subarray(0, 4), bytes, ends.subarray(4)]);
    };
    const header = Buffer.alloc(13);
    header.writeUInt32BE(width, 0);
    header.writeUInt32BE(height, 4);
    header[8] = 8;
    const rows = deflateSync(Buffer.alloc((width + 1) * height));
    const signature = Buffer.from('89504e470d0a1a0a', 'hex');
    return Buffer.concat([
      signature,
      chunk('IHDR', header),
      chunk('IDAT', rows),
      chunk('IEND', Buffer.alloc(0)),
    ]);
  }

  it.each([
    [15_000, 15_000, /pixel limit/],
    [1, 3_000_000, /too tall/],
  ])('%i × %i', async (width, height, message) => {
    const model = at(`model ${width}`);
    await mkdir(model);
    for (const name of ['model.safetensors', 'config.json'])
      await symlink(join(digits, name), join(model, name));
    await put(
      join(model, 'preprocessor_config.json'),
      '{"image_processor_type":"ViTImageProcessor"}',
    );
    const data = at(`images ${width}`);
    await put(join(data, '0/x.png'), png(width, height));
    await refused(evaluates(model, data), 'FORMAT', message);
  });

  it('a network that wants images of 60,000 × 60,000', async () => {
    const config = { image_processor_type: 'ViTImageProcessor', size: { height: 6e4, width: 6e4 } };
    await putTensors(at('huge/model.safetensors'), [tensor('w', 'F32', [1], 1)]);
    await put(at('huge/preprocessor_config.json'), JSON.stringify(config));
    const data = at('small images');
    await put(join(data, '0/x.png'), png(4, 4));
    const found = await inProcess(evaluates(at('huge'), data));
    expect(found.said).toMatch(/^StockpotError/);
    expect(found.peak).toBeLessThan(MOST_MEGABYTES);
  });
});

describe('a device in place of a file', () => {
  it('an endless one is not read', async () => {
    await mkdir(at('device'));
    await symlink('/dev/zero', at('device/model.safetensors'));
    await refused(opens(at('device')), 'NOT_FOUND', /expected a file/);
    await putTensors(at('device 2/model.safetensors'), [tensor('w', 'F32', [1], 1)]);
    await symlink('/dev/zero', at('device 2/config.json'));
    expect((await inProcess(opens(at('device 2')))).peak).toBeLessThan(MOST_MEGABYTES);
  });
});

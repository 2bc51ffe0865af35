// How a backend library is found, tried and refused: with libraries that crash, hang, are of another version, or find
// nothing.
import { execFileSync } from 'node:child_process';
import { writeFile } from 'node:fs/promises';
import { describe, expect, it } from 'vitest';
import { probeLibrary } from '../../lib/cuda.js';
import { json, jsonOf, stockpot } from '../helpers/cli.js';
import { useFolder } from '../helpers/folder.js';
import { putTensors, tensor } from '../helpers/safetensors.js';
import { useHostBackend } from './host_backend.js';

const at = useFolder();
const backend = useHostBackend();

const devices = async (env: NodeJS.ProcessEnv) => {
  const done = await stockpot(['devices', '--json'], { env });
  expect(done.code, done.stderr).toBe(0);
  const [cpu, ...others] = jsonOf(done).devices;
  expect(cpu.usable).toBe(true);
  return others;
};

describe('stockpot devices', () => {
  it('lists what a library finds', async () => {
    const env = backend.env();
    expect(await devices(env)).toEqual([
      {
        name: 'cuda:0',
        description: 'host, 1.1 GB (1.1 free), compute capability 9.0, driver for CUDA 13.0',
        usable: true,
        memoryTotal: 2 ** 30,
        memoryFree: 2 ** 30,
        library: backend.library,
      },
    ]);
    const { stdout } = await stockpot(['devices'], { env });
    expect(stdout).toMatch(/^cuda:0: host, 1.1 GB .*13\.0$/m);
  });

  it.each([
    ['no-driver', 'there is no driver'],
    ['old-driver', 'the driver is too old'],
    ['no-device', 'the driver sees no GPU'],
    ['old-version', 'it knows other versions only'],
    ['crash', 'crashed (SIGABRT) when it was tried'],
  ])('says what is wrong: %s', async (pretends, words) => {
    const env = backend.env(pretends);
    const [cuda, ...more] = await devices(env);
    expect(more).toEqual([]);
    expect(cuda).toMatchObject({ name: 'cuda', usable: false });
    expect(cuda.reason).toContain(words);
    const done = await stockpot(
      ['uniform', 'a', '-o', at('x.safetensors'), '--device', 'cuda', '--json'],
      { env },
    );
    expect(done.code).toBe(1);
    const { error } = jsonOf(done);
    expect(error).toMatchObject({ code: 'DEVICE' });
    expect(error.message).toContain(words);
    expect(error.remedy).toContain('--device cpu');
  });

  it('says that one GPU of several is too old', async () => {
    const [gpu] = await devices(backend.env('old-device'));
    expect(gpu).toMatchObject({ name: 'cuda:0', usable: false, reason: 'no code for it' });
  });

  it('says that cuBLASLt is missing, though means work without it', async () => {
    const [gpu] = await devices(backend.env('no-matmul'));
    expect(gpu).toMatchObject({ usable: true, note: 'cuBLASLt is not found' });
    const { stdout } = await stockpot(['devices'], { env: backend.env('no-matmul') });
    expect(stdout).toContain('; cuBLASLt is not found');
  });

  it('waits only so long', () => {
    process.env.STOCKPOT_TEST_BACKEND = 'hang';
    const { reason } = probeLibrary(backend.library, 1500);
    delete process.env.STOCKPOT_TEST_BACKEND;
    expect(reason).toContain('did not answer within 1.5 s');
  });

  it('refuses what is no library, and a library that is no backend', async () => {
    const text = at('text.so');
    await writeFile(text, 'not a library');
    const other = at('other.so');
    await writeFile(at('other.c'), 'int something_else(void) { return 1; }\n');
    execFileSync('cc', ['-shared', '-fPIC', at('other.c'), '-o', other]);
    for (const [path, words] of [
      [text, 'text.so'],
      [other, 'it has no stockpot_backend_v1'],
      ['relative.so', 'absolute path'],
      [at('missing.so'), 'absolute path'],
    ] as const) {
      const [cuda] = await devices({ ...process.env, STOCKPOT_CUDA_LIBRARY: path });
      expect(cuda.usable).toBe(false);
      expect(cuda.reason).toContain(words);
    }
  });

  it('refuses a library of another version, whatever it says of its size', async () => {
    const source = at('version.c');
    const library = at('version.so');
    await writeFile(
      source,
      `#include <stdint.h>
       static struct { uint32_t version, size; } table = { 7, 100000 };
       const void* stockpot_backend_v1(uint32_t v) { (void)v; return &table; }\n`,
    );
    execFileSync('cc', ['-shared', '-fPIC', source, '-o', library]);
    const [cuda] = await devices({ ...process.env, STOCKPOT_CUDA_LIBRARY: library });
    expect(cuda.reason).toContain('it says version 7');
  });
});

describe('--device', () => {
  it('names a GPU that is there, or is refused', async () => {
    const a = await putTensors(at('a.safetensors'), [tensor('w', 'F32', [2], [1, 2])]);
    const run = async (device: string) => {
      const args = ['uniform', a, '-o', at('o.safetensors'), '--overwrite', '--json'];
      const done = await stockpot([...args, '--device', device], { env: backend.env() });
      return { code: done.code, out: jsonOf(done) };
    };
    expect((await run('cuda')).code).toBe(0);
    expect((await run('cuda:0')).code).toBe(0);
    const { code, out } = await run('cuda:3');
    expect(code).toBe(1);
    expect(out.error.message).toContain('there is 1 GPU, cuda:0');
    expect((await run('cuda:x')).code).toBe(2);
  });

  it.each([
    ['diff', 'a', 'b'],
    ['inspect', 'a'],
    ['probe', 'a', '--data', 'd', '-o', 'x'],
    ['zeroshot', 'a', '--classes', 'c', '--templates', 't', '-o', 'x'],
  ])('is refused by what runs on the processor only: %s', async (...args) => {
    const done = await stockpot([...args, '--device', 'cuda', '--json'], {
      env: backend.env(),
      cwd: at(),
    });
    expect(done.code).toBe(1);
    expect(jsonOf(done).error.message).toMatch(/cuda is not usable: .* on the processor only/);
  });

  it('auto is the processor, and tries no library', async () => {
    const a = await putTensors(at('a.safetensors'), [tensor('w', 'F32', [2], [1, 2])]);
    const done = await stockpot(['uniform', a, '--dry-run'], { env: backend.env('crash') });
    expect(done.code).toBe(0);
  });
});

it('says where there is no library that the package works without it', async () => {
  const { out } = await json(['devices']);
  const cuda = out.devices[1];
  if (cuda.library === undefined) expect(cuda.reason).toContain('works without it');
  else expect(cuda.library).toMatch(/^\/.*libstockpot-cuda\.so$/);
});

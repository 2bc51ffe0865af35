// The service's README and docs/services.md run as pasted.
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect, test } from 'vitest';
import { finished, root, startScript } from '../helpers/cli.js';
import { sanitized } from '../helpers/sanitized.js';
import { ingredients } from './service.js';

const folder = mkdtempSync(join(tmpdir(), 'soups-readme-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const fences = (path: string, language: string) =>
  [
    ...readFileSync(join(root, path), 'utf8').matchAll(
      new RegExp(`^\`\`\`${language}\\n(.*?)^\`\`\``, 'gms'),
    ),
  ].map((m) => m[1] as string);

const freePort = () =>
  new Promise<number>((resolve) => {
    const server = createServer().listen(0, '127.0.0.1', () => {
      const { port } = server.address() as { port: number };
      server.close(() => resolve(port));
    });
  });

// With the sanitizers' libraries, it waits for ever.
const curl = !sanitized && spawnSync('curl', ['--version']).status === 0;

test.skipIf(!curl)(
  'the README of the service, from the start to the stop (needs curl)',
  async () => {
    const [setUp, ...rest] = fences('examples/service/README.md', 'sh');
    expect(setUp).toBe('npm run setup\ncd examples/service\n');
    const port = await freePort();
    const script = rest
      .join('\n')
      .replaceAll('localhost:8080', `127.0.0.1:${port}`)
      .replaceAll('/tmp/', `${folder}/`);
    const ran = spawnSync('bash', ['-c', `set -eu\ntrap 'kill -9 $!' ERR\n${script}`], {
      cwd: join(root, 'examples/service'),
      encoding: 'utf8',
      env: { PATH: process.env.PATH, SOUPS_PORT: String(port) },
    });
    expect(ran.status, `${ran.stdout}${ran.stderr}`).toBe(0);
    expect(ran.stdout).toContain('event: end\n');
    expect(ran.stdout).toContain('"state":"cancelled"');
    expect(ran.stdout).toContain('soups_jobs{state="done"} 1');
    expect(
      readFileSync(join(folder, 'part')).equals(
        readFileSync(join(folder, 'model.safetensors')).subarray(0, 1024),
      ),
    ).toBe(true);
    expect(readFileSync(join(folder, 'soups.log'), 'utf8')).toContain('"msg":"stopped"');
  },
);

test('the lines of docs/services.md', async () => {
  const [block] = fences('docs/services.md', 'js') as [string];
  const [first, ...lines] = block.split('\n');
  expect(first).toBe("import { memoryHeld, StockpotError, uniform } from 'stockpot';");
  const run = (files: readonly string[]) =>
    finished(
      startScript(
        `const { memoryHeld, StockpotError, uniform } = stockpot;
         const ingredients = ${JSON.stringify(files)}, output = ${JSON.stringify(join(folder, 'soup'))};
         ${lines.join('\n')}`,
      ),
    );
  const done = await run(ingredients);
  expect(done.stdout, done.stderr).toMatch(
    /^merge \d+ (\d+)\n(.*\n)*[0-9a-f]{64} \{ buffers: 0, networks: 0 \}\n$/,
  );
  expect((await run(['no such file'])).stdout).toMatch(/^NOT_FOUND no such file undefined \[\] /);
});

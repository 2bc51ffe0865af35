// A project that uses the packed package, as a user's would.
import { type SpawnSyncReturns, spawnSync } from 'node:child_process';
import {
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { buildSync } from 'esbuild';
import { contentHash, openCheckpoint, uniform } from '../../lib/index.js';

export const root = join(dirname(fileURLToPath(import.meta.url)), '../..');
const digits = join(root, 'examples/digits/ingredients');
export const ingredients = readdirSync(digits)
  .sort()
  .map((name) => join(digits, name));

/**
 * Content hash of the uniform soup of the digits' eight ingredients: its tensors were compared bit by bit with those of
 * make_zoo.py's soup, for which PyTorch counted the answers in zoo.json.
 */
export const SOUP_CONTENT = '7e2a5386f486ae041ac7107133af90737a6ba19fb9b8911706d337fd32845a47';

/** That soup made by this working tree, in `folder`; its `sha256`. */
export async function soupOfDigits(folder: string): Promise<string> {
  const soup = join(folder, 'soup');
  const { sha256 } = await uniform(ingredients, soup);
  const content = await contentHash(await openCheckpoint(soup));
  if (content !== SOUP_CONTENT) throw new Error(`the soup of the digits has content ${content}`);
  return sha256 as string;
}

/** Environment without what npm and vitest put there, and without an addon from elsewhere. */
const environment = (): NodeJS.ProcessEnv => {
  const kept = Object.entries(process.env).filter(
    ([name]) => !/^(npm_(?!config_)|VITEST|NODE_OPTIONS$|NODE_ENV$|STOCKPOT_)/.test(name),
  );
  return Object.fromEntries(kept);
};

export const readJson = (path: string) => JSON.parse(readFileSync(path, 'utf8'));

export interface Ran {
  status: number | null;
  stdout: string;
  stderr: string;
}

export function run(cwd: string, command: string, args: readonly string[], path?: string): Ran {
  const r: SpawnSyncReturns<string> = spawnSync(command, args, {
    cwd,
    encoding: 'utf8',
    env: { ...environment(), ...(path === undefined ? {} : { PATH: path }) },
  });
  if (r.error) throw r.error;
  return r;
}

/** The same, of a command that must succeed. */
export function must(cwd: string, command: string, args: readonly string[], path?: string): string {
  const r = run(cwd, command, args, path);
  if (r.status !== 0) {
    throw new Error(`${command} ${args.join(' ')}: exit ${r.status}\n${r.stdout}\n${r.stderr}`);
  }
  return r.stdout;
}

export interface Packed {
  tarball: string;
  files: string[];
}

/** `npm pack` of this working tree. */
export function pack(folder: string): Packed {
  const args = ['pack', '--json', '--ignore-scripts', '--pack-destination', folder];
  const [info] = JSON.parse(must(root, 'npm', args));
  return {
    tarball: join(folder, info.filename),
    files: info.files.map((f: { path: string }) => f.path),
  };
}

export class Consumer {
  readonly folder = mkdtempSync(join(tmpdir(), 'stockpot-consumer-'));
  readonly installed = join(this.folder, 'node_modules/stockpot');
  private path: string | undefined;

  constructor() {
    this.write('package.json', '{ "name": "consumer", "private": true }\n');
  }

  /** Unpacks the tarball and links this repository's copies of what it depends on: needs no registry. */
  installOffline(tarball: string): this {
    mkdirSync(this.installed, { recursive: true });
    must(this.folder, 'tar', ['-xzf', tarball, '-C', this.installed, '--strip-components=1']);
    const { dependencies } = readJson(join(this.installed, 'package.json'));
    for (const name of [...Object.keys(dependencies), 'typescript', '@types/node']) {
      const link = join(this.folder, 'node_modules', name);
      mkdirSync(dirname(link), { recursive: true });
      symlinkSync(join(root, 'node_modules', name), link);
    }
    const bin = join(this.folder, 'node_modules/.bin');
    mkdirSync(bin);
    symlinkSync('../stockpot/dist/cli.js', join(bin, 'stockpot'));
    must(this.folder, 'chmod', ['+x', join(this.installed, 'dist/cli.js')]); // as npm does
    return this;
  }

  /** From now on nothing but Node, npm and a shell is on the PATH: no compiler, no make, no Python. */
  withoutCompiler(): this {
    const bin = join(this.folder, 'bin');
    mkdirSync(bin);
    const node = dirname(process.execPath);
    const shell = must(this.folder, 'sh', ['-c', 'command -v sh env']).trim().split('\n');
    for (const file of [...['node', 'npm', 'npx'].map((n) => join(node, n)), ...shell]) {
      symlinkSync(file, join(bin, basename(file)));
    }
    this.path = bin;
    return this;
  }

  /** Installs the tarball as a user does, and runs its own install script. */
  installFromRegistry(tarball: string): this {
    const types = ['typescript', '@types/node'].map((name) => {
      const { version } = readJson(join(root, 'node_modules', name, 'package.json'));
      return `${name}@${version}`;
    });
    const quiet = ['--no-audit', '--no-fund', '--loglevel=error'];
    const patient = ['--prefer-offline', '--fetch-retries=5'];
    must(
      this.folder,
      'npm',
      [...['install', '--ignore-scripts=false', ...quiet, ...patient], ...[tarball, ...types]],
      this.path,
    );
    return this;
  }

  /** Puts an addon where a prebuild lies, in place of those that are there. */
  placeAddon(file: string): this {
    const place = join(this.installed, `prebuilds/${process.platform}-${process.arch}`);
    this.removeAddon();
    mkdirSync(place, { recursive: true });
    cpSync(file, join(place, 'stockpot.node'));
    return this;
  }

  removeAddon(): this {
    rmSync(join(this.installed, 'prebuilds'), { recursive: true, force: true });
    return this;
  }

  /** What the message about a missing addon says to do, with this repository's node-gyp. */
  rebuild(): Ran {
    const gyp = join(root, 'node_modules/node-gyp/bin/node-gyp.js');
    const headers = join(dirname(process.execPath), '..');
    const there = existsSync(join(headers, 'include/node/node_api.h'));
    const nodedir = there ? [`--nodedir=${headers}`] : [];
    return run(this.installed, process.execPath, [gyp, 'rebuild', '--silent', ...nodedir]);
  }

  write(name: string, text: string): void {
    writeFileSync(join(this.folder, name), text);
  }

  node(...args: string[]): Ran {
    return run(this.folder, process.execPath, args, this.path);
  }

  cli(...args: string[]): Ran {
    return run(this.folder, join(this.folder, 'node_modules/.bin/stockpot'), args, this.path);
  }

  /** Bundles examples/library/FILE for Node, with what is `external` left out. */
  bundle(file: string, output: string, external: string[]): void {
    cpSync(join(root, 'examples/library', file), join(this.folder, file));
    buildSync({
      absWorkingDir: this.folder,
      entryPoints: [file],
      outfile: output,
      external,
      bundle: true,
      platform: 'node',
      format: 'esm',
      logLevel: 'silent',
    });
  }

  /** The SHA-256 of the soup that a program makes: examples/library/FILE, or one that is there. */
  library(file: string): string {
    const out = join(this.folder, `soup-of-${basename(file)}`);
    const example = join(root, 'examples/library', file);
    if (existsSync(example)) cpSync(example, join(this.folder, file));
    return must(this.folder, process.execPath, [file, out, ...ingredients], this.path).trim();
  }

  /** The same of one in TypeScript: compiled with its strictest settings, library types checked too. */
  typescript(file: string): string {
    cpSync(join(root, 'examples/library', file), join(this.folder, file));
    const tsc = join(this.folder, 'node_modules/typescript/bin/tsc');
    const flags = '--strict --module nodenext --target es2022 --types node --outDir compiled'.split(
      ' ',
    );
    must(this.folder, process.execPath, [tsc, ...flags, file]);
    const compiled = join('compiled', file.replace(/\.([mc])ts$/, '.$1js'));
    const out = join(this.folder, `soup-of-${file}`);
    return must(this.folder, process.execPath, [compiled, out, ...ingredients]).trim();
  }

  remove(): void {
    rmSync(this.folder, { recursive: true, force: true });
  }
}

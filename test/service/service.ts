// The example service as a process of its own, and a client of it.
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readdirSync, realpathSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { root } from '../helpers/cli.js';

export const TOKEN = 'a-token-of-the-tests';
const server = join(root, 'examples/service/server.js');
export const digits = join(root, 'examples/digits');
export const ingredients = readdirSync(join(digits, 'ingredients'))
  .sort()
  .map((name) => join(digits, 'ingredients', name));

export const uniform = { recipe: 'uniform', ingredients };
export const learned = { recipe: 'learned', ingredients, data: join(digits, 'heldout') };
/** Runs until somebody stops it. */
export const endless = { ...learned, steps: 1_000_000, batchSize: 8 };

// biome-ignore lint/suspicious/noExplicitAny: tests look into whatever the service answers
export type Json = any;

export interface ServerEvent {
  id: string;
  event: string;
  data: Json;
}

export class Service {
  readonly folder = realpathSync(mkdtempSync(join(tmpdir(), 'soups-')));
  readonly data = join(this.folder, 'data');
  url = '';
  log = '';
  process: ChildProcess | undefined;

  constructor(private readonly settings: NodeJS.ProcessEnv = {}) {}

  /** Resolves when it listens; rejects with what it said where it ends before. */
  async start(settings: NodeJS.ProcessEnv = {}): Promise<this> {
    const child = spawn(process.execPath, [server], {
      stdio: ['ignore', 'pipe', 'pipe'],
      env: {
        PATH: process.env.PATH,
        SOUPS_ROOTS: digits,
        SOUPS_DATA: this.data,
        SOUPS_TOKEN: TOKEN,
        SOUPS_PORT: '0',
        SOUPS_RATE: '100000',
        ...this.settings,
        ...settings,
      },
    });
    this.process = child;
    let stderr = '';
    child.stderr?.on('data', (text) => {
      stderr += text;
    });
    const ended = once(child, 'close').then(([code]) => {
      throw new Error(`exit ${code}: ${stderr}`);
    });
    ended.catch(() => {});
    const listens = new Promise<string>((resolve) => {
      createInterface({ input: child.stdout as NodeJS.ReadableStream }).on('line', (line) => {
        this.log += `${line}\n`;
        const [, url] = /listening at (http:[^"]+)/.exec(line) ?? [];
        if (url) resolve(url);
      });
    });
    this.url = await Promise.race([listens, ended]);
    return this;
  }

  /** Sends a signal and gives the exit code, or null where the signal ended it. */
  async end(signal: NodeJS.Signals): Promise<number | null> {
    const child = this.process as ChildProcess;
    const ended = once(child, 'close');
    child.kill(signal);
    return (await ended)[0];
  }

  async remove(): Promise<void> {
    if (this.process?.exitCode === null && this.process.signalCode === null)
      await this.end('SIGKILL');
    rmSync(this.folder, { recursive: true, force: true });
  }

  fetch(path: string, init: RequestInit = {}): Promise<Response> {
    return fetch(`${this.url}${path}`, {
      ...init,
      headers: { authorization: `Bearer ${TOKEN}`, ...init.headers },
    });
  }

  async json(
    path: string,
    init: RequestInit = {},
  ): Promise<{ status: number; body: Json; headers: Headers }> {
    const response = await this.fetch(path, init);
    const text = await response.text();
    return { status: response.status, body: text && JSON.parse(text), headers: response.headers };
  }

  submit(body: unknown, headers: Record<string, string> = {}) {
    return this.json('/v1/jobs', {
      method: 'POST',
      headers: { 'content-type': 'application/json', ...headers },
      body: JSON.stringify(body),
    });
  }

  async submitted(body: unknown): Promise<string> {
    const answer = await this.submit(body);
    if (answer.status !== 201) throw new Error(JSON.stringify(answer.body));
    return answer.body.id;
  }

  async job(id: string): Promise<Json> {
    return (await this.json(`/v1/jobs/${id}`)).body;
  }

  /** Until a job is as it should be. */
  async until(id: string, holds: (job: Json) => boolean): Promise<Json> {
    for (;;) {
      const job = await this.job(id);
      if (holds(job)) return job;
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
  }

  over = (id: string): Promise<Json> =>
    this.until(id, ({ state }) => state !== 'queued' && state !== 'running');

  async *events(id: string, init: RequestInit = {}): AsyncGenerator<ServerEvent> {
    const response = await this.fetch(`/v1/jobs/${id}/events`, init);
    let text = '';
    const decoder = new TextDecoder();
    for await (const piece of response.body as unknown as AsyncIterable<Uint8Array>) {
      text += decoder.decode(piece, { stream: true });
      const blocks = text.split('\n\n');
      text = blocks.pop() as string;
      for (const block of blocks) {
        const field = (name: string) => new RegExp(`^${name}: (.*)$`, 'm').exec(block)?.[1] ?? '';
        if (field('event'))
          yield { id: field('id'), event: field('event'), data: JSON.parse(field('data')) };
        else if (block.startsWith(':')) yield { id: '', event: 'comment', data: block };
      }
    }
  }

  async weights(id: string): Promise<Buffer> {
    const response = await this.fetch(`/v1/jobs/${id}/files/model.safetensors`);
    if (response.status !== 200) throw new Error(`${response.status} ${await response.text()}`);
    return Buffer.from(await response.arrayBuffer());
  }
}

// The code blocks of the documentation. Every one is run, or says in a comment before it why not:
//
//   <!-- not run: REASON -->         this block
//   <!-- blocks run by FILE -->      all blocks of the document; FILE is a test
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { root } from './consumer.js';

export const read = (name: string) => readFileSync(join(root, name), 'utf8');

export const documents = [
  'README.md',
  'ARCHITECTURE.md',
  'CONTRIBUTING.md',
  'SECURITY.md',
  ...readdirSync(join(root, 'docs'))
    .filter((n) => n.endsWith('.md'))
    .map((n) => `docs/${n}`),
];

export interface Block {
  language: string;
  text: string;
  /** Why it is not run. */
  reason: string | undefined;
}

export interface Command {
  line: string;
  /** The exit code that a comment announces (`# exits 1`). */
  exit: number;
}

export function blocksOf(document: string): Block[] {
  const fences = document.matchAll(
    /^(?:<!-- not run: (.*) -->\n+)?```(.*)\n((?:(?!```).*\n)*)```$/gm,
  );
  return [...fences].map(([, reason, language, text]) => ({
    language: language as string,
    text: text as string,
    reason,
  }));
}

/** The test that runs a document's blocks, where another does. */
export const otherTest = (document: string): string | undefined =>
  /^<!-- blocks run by (\S+) -->$/m.exec(document)?.[1];

/** The command lines of an sh block, continued lines joined. */
export const commandsOf = (block: Block): Command[] =>
  block.text
    .replace(/\\\n\s*/g, '')
    .split('\n')
    .filter((line) => line.trim() !== '' && !line.startsWith('#'))
    .map((line) => ({ line, exit: Number(/# exits (\d+)/.exec(line)?.[1] ?? 0) }));

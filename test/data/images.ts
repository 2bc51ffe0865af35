import { fileURLToPath } from 'node:url';

/** Images, and what the libraries make of them; test/fixtures/images/make.py made both. */
export const fixture = (name: string): string =>
  fileURLToPath(new URL(`../fixtures/images/${name}`, import.meta.url));
export const IMAGES = fixture('');

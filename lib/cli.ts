#!/usr/bin/env node
import { main } from './cli/main.js';

// A reader that has seen enough (head, say) closes the pipe: no failure of ours.
process.stdout.on('error', (e: NodeJS.ErrnoException) => {
  if (e.code === 'EPIPE') return;
  process.stderr.write(`stockpot: standard output cannot be written: ${e.message}\n`);
  process.exitCode = 1;
});
process.stderr.on('error', () => {});
await main(process.argv.slice(2));

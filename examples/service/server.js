#!/usr/bin/env node
// The service: settings from the environment, jobs from the disk, then requests. SIGTERM and SIGINT end it in order.
import { mkdir } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { makeApp } from './src/app.js';
import { Jobs } from './src/jobs.js';
import { Journal } from './src/journal.js';
import { lock } from './src/lock.js';
import { Roots } from './src/paths.js';
import { Kitchen } from './src/run.js';
import { readSettings, SettingError } from './src/settings.js';

function settingsOrExit() {
  try {
    return readSettings(process.env);
  } catch (e) {
    if (!(e instanceof SettingError)) throw e;
    console.error(`stockpot-service: ${e.message}`);
    process.exit(2);
  }
}

async function describe() {
  const nothing = readSettings({ SOUPS_ROOTS: '/', SOUPS_DATA: '/', SOUPS_TOKEN: 'x'.repeat(16) });
  const jobs = new Jobs(nothing);
  const app = await makeApp(nothing, { jobs, stopping: new AbortController().signal });
  await app.ready();
  process.stdout.write(`${JSON.stringify(app.swagger(), null, 2)}\n`);
}

async function serve() {
  const settings = settingsOrExit();
  settings.data = resolve(settings.data);
  await mkdir(settings.data, { recursive: true, mode: 0o700 });
  const unlock = await lock(settings.data);
  const journal = new Journal(join(settings.data, 'jobs'));
  const kitchen = new Kitchen(settings, new Roots(settings.roots));
  const jobs = new Jobs(settings, journal, kitchen);
  const stopping = new AbortController();
  const logger = { level: settings.log };
  const app = await makeApp(settings, { jobs, stopping: stopping.signal, logger });
  await jobs.open();
  await app.listen({ host: settings.host, port: settings.port });

  let asked = false;
  const stop = async (signal) => {
    if (asked) process.exit(1);
    asked = true;
    app.log.info({ signal }, 'stopping');
    // Downloads may end; what takes longer is cut off, and can be taken up again by a range request.
    const cut = setTimeout(() => app.server.closeAllConnections(), settings.grace);
    await jobs.drain();
    stopping.abort();
    // Connections whose last answer ends only now.
    const idle = setInterval(() => app.server.closeIdleConnections(), 50);
    await app.close();
    clearInterval(idle);
    clearTimeout(cut);
    await unlock();
    app.log.info('stopped');
  };
  for (const signal of ['SIGTERM', 'SIGINT']) process.on(signal, () => stop(signal));
}

if (process.argv[2] === '--openapi') await describe();
else await serve();

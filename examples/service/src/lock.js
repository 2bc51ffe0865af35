// One service a data folder: the one that listens on a socket in it. A killed service's socket answers nobody.
import { rm } from 'node:fs/promises';
import { connect, createServer } from 'node:net';
import { join } from 'node:path';

const MOST = 100; // bytes of a socket's path that all systems take

/** @returns a function that releases it @throws where another service has the folder */
export async function lock(folder) {
  const path = join(folder, 'lock');
  if (Buffer.byteLength(path) > MOST)
    throw new Error(`${path}: is longer than ${MOST} bytes; choose a shorter SOUPS_DATA`);
  for (const last of [false, true]) {
    const server = createServer((socket) => socket.destroy());
    const failed = await new Promise((resolve) => {
      server.once('error', resolve);
      server.listen(path, () => resolve(undefined));
    });
    if (!failed) {
      server.unref();
      return () => new Promise((resolve) => server.close(resolve));
    }
    if (failed.code !== 'EADDRINUSE') throw failed;
    if (last || (await answers(path)))
      throw new Error(`${folder}: another service is using this folder`);
    await rm(path, { force: true });
  }
}

const answers = (path) =>
  new Promise((resolve) => {
    const socket = connect(path);
    socket.once('connect', () => {
      socket.destroy();
      resolve(true);
    });
    socket.once('error', () => resolve(false));
  });

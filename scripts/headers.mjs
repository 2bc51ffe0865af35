import { existsSync } from 'node:fs';
import { dirname, join } from 'node:path';

const prefix = join(dirname(process.execPath), '..');

/** Where Node's own headers lie, if they lie beside it: then node-gyp has none to download (its --nodedir). */
export const nodeHeaders = existsSync(join(prefix, 'include/node/node_api.h')) ? prefix : undefined;

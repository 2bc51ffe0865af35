import { version as packageVersion } from '../package.json';

/** This package's version; the build puts it in, so that a bundle has it too. */
export const version: string = packageVersion;

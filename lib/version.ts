/** This package's version; the build puts it in, so that a bundle has it too. */
export { version } from '../package.json';

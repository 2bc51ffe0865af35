import { defineConfig } from 'tsup';

const shared = {
  target: 'node20',
  outDir: 'dist',
  sourcemap: true,
  clean: false,
  // Optional dependencies, which tsup would bundle.
  external: ['vega', 'vega-lite'],
};

export default defineConfig([
  // import.meta.url exists in CommonJS too, by tsup's shim.
  { ...shared, entry: ['lib/index.ts'], format: ['esm', 'cjs'], dts: true, shims: true },
  { ...shared, entry: ['lib/cli.ts'], format: ['esm'] },
]);

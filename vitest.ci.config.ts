import { defineConfig } from 'vitest/config';

// What only .ci/run checks: it needs a registry, CMake, and what .ci/run has built before.
export default defineConfig({
  test: { include: ['test/**/*.ci.ts'], testTimeout: 300_000, hookTimeout: 300_000, pool: 'forks' },
});

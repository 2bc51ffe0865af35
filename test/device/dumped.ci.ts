// Networks of checkpoints in a device's own test program: scripts/dump_network.mjs writes them, `network_tests --case`
// runs them in every number, on the emulated device, with the processor's logits beside it.
import { execFileSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { beforeAll, expect, it } from 'vitest';
import { root } from '../helpers/cli.js';
import { useFolder } from '../helpers/folder.js';
import { useEmulatedDevice } from './emulated.js';

const at = useFolder();
const { library } = useEmulatedDevice();
const GOLDEN = join(root, '../shared/golden');
const families = ['vit_hf', 'vit_timm', 'clip_hf', 'bert_hf', 't5_relu', 't5_gated'];
const cases = [
  { name: 'digits', model: 'examples/digits/base', data: 'examples/digits/heldout' },
  ...families.map((name) => ({
    name,
    model: join(GOLDEN, name, 'ingredients/0'),
    data: join(GOLDEN, name, 'inputs.safetensors'),
  })),
];

beforeAll(() => {
  const options = ['--build', 'build-native', '--target', 'network_tests', 'emulated-cublaslt'];
  execFileSync('cmake', [...options, '--parallel', '2'], { cwd: root, stdio: 'ignore' });
}, 1_200_000);

for (const { name, model, data } of cases) {
  it.skipIf(!existsSync(join(root, model)) && !existsSync(model))(
    name,
    () => {
      const folder = at(name);
      const run = (file: string, args: string[], env = {}) =>
        execFileSync(file, args, { cwd: root, encoding: 'utf8', env: { ...process.env, ...env } });
      run(process.execPath, ['scripts/dump_network.mjs', model, data, folder, '--examples', '2']);
      const tests = join(root, 'build-native/network_tests');
      const said = run(tests, [library, '--case', folder]);
      expect(said).toContain('3 passed, 0 failed');
      // And with products by a library.
      const withLibrary = run(tests, [library, '--case', folder], {
        STOCKPOT_CUBLASLT: join(root, 'build-native/libemulated-cublaslt.so'),
        XDG_CACHE_HOME: at(`cache-${name}`),
      });
      expect(withLibrary).toContain('cuBLASLt 130002');
      expect(withLibrary).toContain('3 passed, 0 failed');
    },
    300_000,
  );
}

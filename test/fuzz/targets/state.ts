import { Evaluations } from '../../../lib/evaluate/resume.js';
import { SavedState } from '../../../lib/recipes/learned/saved_state.js';
import { at, put, survives } from '../support.js';

/** What a killed run left to go on from: an evaluation, or the state of a descent. */
export async function fuzz(bytes: Buffer): Promise<void> {
  put('state/x.json', bytes);
  put('state/learned-x.json', bytes);
  await survives(async () => {
    await (await Evaluations.open(at('state'))).get('x', 2);
    await (await SavedState.open(at('state'), 'x')).read(1, 2);
  });
}

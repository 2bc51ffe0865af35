import { verify } from '../../../lib/verify.js';
import { safetensors, tensor } from '../../helpers/safetensors.js';
import { at, put, survives } from '../support.js';

const ingredient = (x: number) =>
  safetensors([tensor('w', 'F32', [2], x), tensor('ids', 'I64', [1], 1)]);
put('a.safetensors', ingredient(1));
put('b.safetensors', ingredient(3));
put('soup/model.safetensors', ingredient(2));

/** A soup's record (soup.json), which is then verified. */
export async function fuzz(bytes: Buffer): Promise<void> {
  put('soup/soup.json', bytes);
  const ingredients = [at('a.safetensors'), at('b.safetensors')];
  await survives(() => verify(at('soup'), { ingredients, threads: 1 }));
}

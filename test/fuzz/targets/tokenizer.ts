import { TextTokenizer } from '../../../lib/data/text/tokenizer.js';
import { put, survives } from '../support.js';

const TEXTS = [
  '',
  'It is 20 °C.',
  'naïve Zürich – 北京 \u{1f600} [MASK] a\u0301',
  '  two  spaces\t\r\n',
];

/** tokenizer.json; some texts are encoded with it. */
export async function fuzz(bytes: Buffer): Promise<void> {
  const path = put('tokenizer.json', bytes);
  await survives(async () => {
    const tokenizer = await TextTokenizer.read(path);
    for (const text of TEXTS) {
      for (const pair of [undefined, 'and this one']) {
        try {
          const { ids, types } = tokenizer.encode(text, pair, 12);
          if (ids.length !== types.length || !ids.every(Number.isSafeInteger))
            throw new RangeError('ids and types that do not fit together');
        } catch (error) {
          // A text that cannot be tokenized is refused by an Error, to which the set adds the row.
          if (error instanceof TypeError || error instanceof RangeError) throw error;
        }
      }
    }
  });
}

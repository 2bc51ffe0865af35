// tsc --strict --module nodenext soup.mts && node soup.mjs OUT INGREDIENT...
import { type Progress, type Soup, StockpotError, uniform, verify } from 'stockpot';

const [output, ...ingredients] = process.argv.slice(2);
if (output === undefined) throw new Error('usage: soup.mjs OUT INGREDIENT...');
const stop = new AbortController();
process.once('SIGINT', () => stop.abort());

try {
  const soup: Soup = await uniform(ingredients, output, {
    overwrite: true,
    signal: stop.signal,
    onProgress: ({ bytesRead, bytesTotal }: Progress) => {
      console.error(`${((100 * bytesRead) / bytesTotal).toFixed(0)} %`);
    },
  });
  const { verified } = await verify(output);
  if (!verified) throw new Error(`${output} is not what its record says`);
  console.log(soup.sha256);
} catch (error) {
  if (!(error instanceof StockpotError)) throw error;
  console.error(`${error.code}: ${error.message}`);
  for (const { file, tensor, message } of error.details) console.error(file, tensor, message);
  process.exitCode = 1;
}

// node soup.mjs OUT INGREDIENT...
import { uniform } from 'stockpot';

const [output, ...ingredients] = process.argv.slice(2);
const soup = await uniform(ingredients, output, { overwrite: true });
console.log(soup.sha256);

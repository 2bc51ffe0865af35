// tsc --strict --module nodenext soup.cts && node soup.cjs OUT INGREDIENT...
import stockpot = require('stockpot');

const [output, ...ingredients] = process.argv.slice(2);
if (output === undefined) throw new Error('usage: soup.cjs OUT INGREDIENT...');
const options: stockpot.UniformOptions = { overwrite: true };
stockpot
  .uniform(ingredients, output, options)
  .then((soup: stockpot.Soup) => console.log(soup.sha256));

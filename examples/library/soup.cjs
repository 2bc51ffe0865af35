// node soup.cjs OUT INGREDIENT...
const { uniform } = require('stockpot');

const [output, ...ingredients] = process.argv.slice(2);
uniform(ingredients, output, { overwrite: true }).then((soup) => console.log(soup.sha256));

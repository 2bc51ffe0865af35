// Says which tests failed, and the first lines of why, from vitest's JSON reports: `failed_tests.mjs REPORT...`.
import { readFileSync } from 'node:fs';
import { relative } from 'node:path';

const LINES = 5;
// biome-ignore lint/suspicious/noControlCharactersInRegex: what colours a terminal begins with one.
const plain = (text) => text.replace(/\x1b\[[0-9;]*m/g, '');
const show = (name, message) => {
  console.log(`\nFAILED TEST: ${name}`);
  const lines = plain(message)
    .split('\n')
    .filter((line) => line.trim() !== '');
  for (const line of lines.slice(0, LINES)) console.log(`    ${line.slice(0, 300)}`);
};

for (const report of process.argv.slice(2)) {
  let files;
  try {
    files = JSON.parse(readFileSync(report, 'utf8')).testResults;
  } catch (error) {
    show(report, `no report: ${error.message}`);
    continue;
  }
  for (const { name, status, message, assertionResults } of files) {
    const file = relative(process.cwd(), name);
    const failed = assertionResults.filter((t) => t.status === 'failed');
    for (const test of failed) {
      show(`${file} > ${test.fullName}`, test.failureMessages.join('\n'));
    }
    // A file that does not load, or whose hooks fail, has a message and no test that failed.
    if (status === 'failed' && failed.length === 0)
      show(file, message || 'failed outside of a test, in a hook');
  }
}

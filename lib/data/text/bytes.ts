/**
 * The characters that stand for bytes in byte-level vocabularies (GPT-2's `bytes_to_unicode`): printable ones for
 * themselves, the others from 256 on.
 */
const CHARACTERS: readonly string[] = (() => {
  let next = 256;
  return Array.from({ length: 256 }, (_, b) => {
    const itself = (b >= 33 && b <= 126) || (b >= 161 && b <= 172) || b >= 174;
    return String.fromCharCode(itself ? b : next++);
  });
})();

/** A text's bytes in UTF-8, one character each. */
export function byteCharacters(text: string): string {
  let out = '';
  for (const byte of Buffer.from(text, 'utf8')) out += CHARACTERS[byte];
  return out;
}

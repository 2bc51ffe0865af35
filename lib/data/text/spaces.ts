const SPACE = /^\p{White_Space}$/u;

/** Where Unicode's spaces at the beginning of a text end. */
export function startOf(text: string): number {
  let at = 0;
  while (at < text.length && SPACE.test(text[at] as string)) at++;
  return at;
}

/** Where Unicode's spaces at the end of a text begin. */
export function endOf(text: string): number {
  let at = text.length;
  while (at > 0 && SPACE.test(text[at - 1] as string)) at--;
  return at;
}

const LONGEST = 120;

/**
 * A name out of a file, quoted for a message: one line, no control characters that a terminal would act on,
 * and not longer than a reader wants.
 */
export function show(text: string): string {
  const short = text.length > LONGEST ? `${text.slice(0, LONGEST)}…` : text;
  return JSON.stringify(short).replace(
    /[\u007f-\u009f\u2028\u2029\u202a-\u202e\u2066-\u2069]/g,
    (c) => `\\u${c.charCodeAt(0).toString(16).padStart(4, '0')}`,
  );
}

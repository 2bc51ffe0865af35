const UNIT_NAMES = ['B', 'kB', 'MB', 'GB', 'TB'];

/** 1234567 -> "1.23 MB". */
export function showBytes(bytes: number): string {
  const power = bytes < 1 ? 0 : Math.min(UNIT_NAMES.length - 1, Math.floor(Math.log10(bytes) / 3));
  const value = bytes / 1000 ** power;
  return `${power === 0 ? value : value.toPrecision(3)} ${UNIT_NAMES[power]}`;
}

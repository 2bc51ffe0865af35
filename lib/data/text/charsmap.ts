/** Finds where a text's grapheme clusters end. */
const CLUSTERS = new Intl.Segmenter('und', { granularity: 'grapheme' });

/** A cluster of this many bytes or more is mapped character by character (tokenizers `normalizers/precompiled.rs`). */
const LONG_CLUSTER = 6;

/**
 * SentencePiece's table of replacements (`precompiled_charsmap`): a double-array trie (Darts-clone) from byte strings to
 * places in a list of zero-terminated strings. Applied as huggingface/spm_precompiled does, whose look-up takes the
 * shortest key that the text begins with.
 */
export class Charsmap {
  private readonly units: Uint32Array;
  private readonly replacements: Uint8Array;
  /** By code, for texts of nothing but ASCII. */
  private readonly ascii: readonly string[];

  /** @throws Error where the table's sizes do not fit together */
  constructor(base64: string) {
    const bytes = Buffer.from(base64, 'base64');
    const size = bytes.length >= 4 ? bytes.readUInt32LE(0) : 0;
    if (size === 0 || size % 4 !== 0 || 4 + size > bytes.length)
      throw new Error('its precompiled_charsmap is damaged');
    this.units = Uint32Array.from({ length: size / 4 }, (_, i) => bytes.readUInt32LE(4 + 4 * i));
    this.replacements = bytes.subarray(4 + size);
    this.ascii = Array.from({ length: 128 }, (_, code) => {
      const c = String.fromCharCode(code);
      return this.replacement(Buffer.from(c)) ?? c;
    });
  }

  apply(text: string): string {
    // A carriage return makes one cluster with a line feed.
    // biome-ignore lint/suspicious/noControlCharactersInRegex: ASCII without it is what is looked for
    if (/^[\0-\x0c\x0e-\x7f]*$/.test(text)) {
      let out = '';
      for (let i = 0; i < text.length; i++) out += this.ascii[text.charCodeAt(i)];
      return out;
    }
    let out = '';
    for (const { segment } of CLUSTERS.segment(text)) {
      const bytes = Buffer.from(segment);
      const whole = bytes.length < LONG_CLUSTER ? this.replacement(bytes) : undefined;
      if (whole !== undefined) out += whole;
      else for (const c of segment) out += this.replacement(Buffer.from(c)) ?? c;
    }
    return out;
  }

  private replacement(key: Uint8Array): string | undefined {
    const { units } = this;
    let at = offsetOf(units[0] as number);
    for (const byte of key) {
      if (byte === 0) return undefined;
      at ^= byte;
      const unit = units[at];
      if (unit === undefined || (unit & 0x800000ff) >>> 0 !== byte) return undefined;
      at ^= offsetOf(unit);
      if ((unit >>> 8) & 1) return this.stringAt((units[at] ?? 0) & 0x7fffffff);
    }
    return undefined;
  }

  private stringAt(from: number): string {
    const end = this.replacements.indexOf(0, from);
    return Buffer.from(
      this.replacements.subarray(from, end < 0 ? this.replacements.length : end),
    ).toString('utf8');
  }
}

const offsetOf = (unit: number): number => (unit >>> 10) << ((unit & 0x200) >>> 6);

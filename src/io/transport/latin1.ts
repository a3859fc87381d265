/**
 * Bytes to text and back, one character a byte. Bun has the direct calls on every Buffer, its types do not; they save
 * the look at the encoding's name for each message.
 */
interface Latin1Bytes {
  latin1Slice(start: number, end: number): string;
  latin1Write(text: string, offset: number): number;
}

export function readLatin1(bytes: Buffer, start = 0, end: number = bytes.length): string {
  return (bytes as unknown as Latin1Bytes).latin1Slice(start, end);
}

/** @returns how many bytes were written */
export function writeLatin1(bytes: Buffer, text: string, offset = 0): number {
  return (bytes as unknown as Latin1Bytes).latin1Write(text, offset);
}

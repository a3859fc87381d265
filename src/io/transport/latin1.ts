/**
 * Bytes to text and back, one character a byte. Uses calls that Bun's Buffer has and its types do not name: they need not
 * look at the name of an encoding for each message.
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

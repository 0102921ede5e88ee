// What the peers in the page share: the blob, the credit window, and waiting.

/** Bytes on the way, as in tests/webrtc/src/protocols.rs. */
export const WINDOW = 2 * 1024 * 1024;
/** Credit comes back in portions of so many bytes. */
export const GRANT = 256 * 1024;
/** Bytes that are handed to a stream at a time. */
export const PIECE = 64 * 1024;

/** The bytes that every peer makes for itself: the little-endian words `i * 0x9E3779B1`. */
export function blob(bytes) {
  const words = new Uint32Array(Math.ceil(bytes / 4));
  for (let i = 0; i < words.length; i += 1) words[i] = Math.imul(i, 0x9e3779b1);
  return new Uint8Array(words.buffer, 0, bytes);
}

/** Looks until `probe` gives something; an error with `what` after ten seconds. */
export async function until(what, probe) {
  for (const end = performance.now() + 10_000; performance.now() < end; ) {
    if (probe()) return;
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  throw new Error(`${what}: not within 10 s`);
}

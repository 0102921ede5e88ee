/** Bytes of each wasm module, uncompressed; the build puts them in. */
declare const __WASM_BYTES__: { net: number; trainer: number };
/** This page's version; the build puts it in. */
declare const __VERSION__: string;

interface Window {
  /** For tests: the newest snapshot. */
  tributary: { snapshot: import('./wasm/net/tributary_web_net.js').Snapshot | undefined };
}

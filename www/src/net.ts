// The page's wasm module, loaded once: the peer, and what makes and reads backups.

import { say } from './strings.ts';
import netUrl from './wasm/net/tributary_web_net_bg.wasm?url';
import { compile, type Loading } from './wasm.ts';

export type Net = typeof import('./wasm/net/tributary_web_net.js');

let loading: Promise<Net> | undefined;

/** The module. What fails is said in words, and the next call tries again. */
export function loadNet(onLoading: (loading: Loading) => void = () => {}): Promise<Net> {
  loading ??= load(onLoading);
  return loading.catch((error: unknown) => {
    loading = undefined;
    if (error instanceof WebAssembly.CompileError) throw error;
    const why = error instanceof Error ? error.message : String(error);
    throw new Error(say.loadFailed(say.partNet, why), { cause: error });
  });
}

async function load(onLoading: (loading: Loading) => void): Promise<Net> {
  const never = new AbortController().signal;
  // One after the other: browsers remember an import that failed, and a later one of the same module fails at once. A
  // fetch that failed they try again.
  const compiled = await compile(netUrl, say.partNet, __WASM_BYTES__.net, never, onLoading);
  const net = await import('./wasm/net/tributary_web_net.js');
  await net.default({ module_or_path: compiled });
  return net;
}

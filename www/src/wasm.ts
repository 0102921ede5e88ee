// Loads a wasm module and says how far it is.

/** How much of a download is there. */
export interface Loading {
  what: string;
  done: number;
  total: number;
}

/** Fetches and compiles while bytes arrive. `total` is the size at build time: the transfer may be
 * compressed, so its own length says something else. */
export async function compile(
  url: string,
  what: string,
  total: number,
  signal: AbortSignal,
  onLoading: (loading: Loading) => void,
): Promise<WebAssembly.Module> {
  const response = await fetch(url, { signal });
  if (!response.ok || !response.body) throw new Error(`HTTP ${response.status}`);
  let done = 0;
  onLoading({ what, done, total });
  const counted = response.body.pipeThrough(
    new TransformStream<Uint8Array, Uint8Array>({
      transform(chunk, controller) {
        done += chunk.byteLength;
        onLoading({ what, done: Math.min(done, total), total });
        controller.enqueue(chunk);
      },
    }),
  );
  // The server's own type may be missing on a plain file server; compileStreaming insists on it.
  return WebAssembly.compileStreaming(
    new Response(counted as ReadableStream<Uint8Array<ArrayBuffer>>, {
      headers: { 'content-type': 'application/wasm' },
    }),
  );
}

// The trainer's thread. First comes the compiled module; after the answer `ready`, jobs come and
// reports leave as the wasm trainer's own messages.

import init, { start } from './wasm/trainer/tributary_web_trainer.js';

/** What the page hears before the trainer speaks for itself. */
export type WorkerHello = { ready: true } | { failed: string };

addEventListener('message', boot, { once: true });

async function boot(event: MessageEvent): Promise<void> {
  let hello: WorkerHello;
  try {
    await init({ module_or_path: event.data as WebAssembly.Module });
    start();
    hello = { ready: true };
  } catch (error) {
    hello = { failed: String(error) };
  }
  postMessage(hello);
}

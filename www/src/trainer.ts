// Brings the trainer's worker up: download, worker, wasm instance.

import { say } from './strings.ts';
import trainerUrl from './wasm/trainer/tributary_web_trainer_bg.wasm?url';
import { compile, type Loading } from './wasm.ts';
import type { WorkerHello } from './worker.ts';

let compiled: WebAssembly.Module | undefined;

/** A worker whose trainer waits for jobs. */
export async function startTrainer(
  signal: AbortSignal,
  onLoading: (loading: Loading | undefined) => void,
): Promise<Worker> {
  compiled ??= await compile(trainerUrl, say.partTrainer, __WASM_BYTES__.trainer, signal, onLoading);
  onLoading(undefined);
  const worker = new Worker(new URL('./worker.ts', import.meta.url), { type: 'module', name: 'trainer' });
  try {
    await hello(worker, compiled, signal);
  } catch (error) {
    worker.terminate();
    throw error;
  }
  return worker;
}

function hello(worker: Worker, module: WebAssembly.Module, signal: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    worker.onerror = (event) => reject(new Error(event.message || 'the worker script did not load'));
    worker.onmessage = (event: MessageEvent<WorkerHello>) => {
      // From here on the wasm peer listens.
      worker.onmessage = null;
      worker.onerror = null;
      if ('ready' in event.data) resolve();
      else reject(new Error(event.data.failed));
    };
    signal.addEventListener('abort', () => reject(signal.reason), { once: true });
    worker.postMessage(module);
  });
}

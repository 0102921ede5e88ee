// Sleeping that keeps its time in a background tab, where the page's own timers run once a second
// and later once a minute: too late for a round's deadline.

import type { Wake } from './ticker.ts';

const waiting = new Map<number, () => void>();
let ticker: Worker | undefined;
let next = 0;

/** Resolves after `ms` milliseconds. */
export function sleep(ms: number): Promise<void> {
  ticker ??= start();
  const id = next++;
  return new Promise((resolve) => {
    waiting.set(id, resolve);
    ticker?.postMessage({ id, ms } satisfies Wake);
  });
}

function start(): Worker {
  const worker = new Worker(new URL('./ticker.ts', import.meta.url), { type: 'module', name: 'ticker' });
  worker.onmessage = (event: MessageEvent<number>) => {
    waiting.get(event.data)?.();
    waiting.delete(event.data);
  };
  return worker;
}

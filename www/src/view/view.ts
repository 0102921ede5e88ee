// What the views draw, and nothing else.

import type { RunFile, Snapshot } from '../wasm/net/tributary_web_net.js';
import type { Loading } from '../wasm.ts';

/** One moment of the page. */
export interface View {
  snapshot: Snapshot | undefined;
  /** When the snapshot came, by `performance.now()`. */
  at: number;
  /** Between Start and the first snapshot. */
  starting: boolean;
  loading: Loading | undefined;
  run: RunFile | undefined;
  error: string | undefined;
  note: string | undefined;
}

/** Before anything happened. */
export const emptyView = (): View => ({
  snapshot: undefined,
  at: 0,
  starting: false,
  loading: undefined,
  run: undefined,
  error: undefined,
  note: undefined,
});

/** Whether a snapshot says that something goes on. */
export function isActive(snapshot: Snapshot | undefined): boolean {
  return snapshot !== undefined && snapshot.phase.kind !== 'idle' && snapshot.phase.kind !== 'failed';
}

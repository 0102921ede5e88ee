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
  /** Something worth knowing that passes. */
  note: string | undefined;
  /** Why the coordinator was lost, until it is back. */
  away: string | undefined;
  /** Whether a reload finds the identity again; undefined: not known yet. */
  durable: boolean | undefined;
  /** Milliseconds by which this machine's clock is ahead of the coordinator's. */
  skewMs: number | undefined;
  /** Bytes of blobs that had been received when this start began. */
  bulkBefore: number;
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
  away: undefined,
  durable: undefined,
  skewMs: undefined,
  bulkBefore: 0,
});

/** Takes a new snapshot in. */
export function show(view: View, snapshot: Snapshot): void {
  view.snapshot = snapshot;
  view.at = performance.now();
  const { link } = snapshot;
  // While it is dialled again it is still away.
  if (link.kind !== 'dialling') view.away = link.kind === 'away' ? link.why : undefined;
}

/** Bytes of blobs received in this session. */
export const bulk = (snapshot: Snapshot | undefined): number =>
  (snapshot?.bulk_direct ?? 0) + (snapshot?.bulk_coordinator ?? 0);

/** Whether a snapshot says that something goes on. */
export function isActive(snapshot: Snapshot | undefined): boolean {
  return snapshot !== undefined && snapshot.phase.kind !== 'idle' && snapshot.phase.kind !== 'failed';
}

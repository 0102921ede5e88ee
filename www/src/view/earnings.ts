// What this contributor earned: one number, what it is made of, and what of it this tab has proved.

import { byId, make, setList, setNote, setText } from '../dom.ts';
import { count } from '../format.ts';
import { say } from '../strings.ts';
import type { Snapshot } from '../wasm/net/tributary_web_net.js';

/** Credits by how far they are settled, and the proofs of them. */
export interface EarningsView {
  provisional: number;
  verified: number;
  final: number;
  forfeited: number;
  proofs: ProofView;
  receipts: ReceiptRow[];
}

/** What this tab could prove of the coordinator's log. */
export type ProofView =
  | { kind: 'none' }
  | { kind: 'good'; round: number; size: number }
  | { kind: 'bad'; why: string };

/** One round's receipt. */
export interface ReceiptRow {
  round: number;
  amount: number;
  work: number;
  checked: boolean;
  why: string | undefined;
}

const STATES = ['provisional', 'verified', 'final', 'forfeited'] as const;

const card = byId('earnings');
const warning = byId('earnings-warning');
const total = byId('earned');
const states = byId('earnings-states');
const proof = byId('earnings-proof');
const receipts = byId('receipts');
const receiptsEmpty = byId('receipts-empty');
const receiptsBody = byId('receipts-body');

/** The one number: everything that was credited and not taken back. */
export function earned(snapshot: Snapshot | undefined): number {
  const earnings = of(snapshot);
  if (!earnings) return snapshot?.credits ?? 0;
  return earnings.provisional + earnings.verified + earnings.final;
}

const of = (snapshot: Snapshot | undefined): EarningsView | undefined =>
  (snapshot as { earnings?: EarningsView } | undefined)?.earnings;

/** Draws the panel. */
export function drawEarnings(snapshot: Snapshot | undefined): void {
  const earnings = of(snapshot);
  const rows = earnings?.receipts ?? [];
  const proofs: ProofView = earnings?.proofs ?? { kind: 'none' };
  setText(total, count(earned(snapshot)));
  // Nothing was ever taken back from most people, and the word alone would worry them.
  const shown = STATES.filter((state) => state !== 'forfeited' || (earnings?.forfeited ?? 0) > 0);
  setList(
    states,
    shown,
    (state) => state,
    newState,
    (row, state) => drawState(row, state, earnings),
  );
  card.dataset.proof = proofs.kind;
  setNote(warning, proofs.kind === 'bad' ? say.proofBad(proofs.why) : undefined);
  setText(proof, proofWords(proofs));
  receipts.hidden = rows.length === 0;
  receiptsEmpty.hidden = rows.length > 0;
  setList(receiptsBody, rows, (row) => String(row.round), newReceipt, drawReceipt);
}

function proofWords(proofs: ProofView): string {
  switch (proofs.kind) {
    case 'none':
      return say.proofNone;
    case 'good':
      return say.proofGood(count(proofs.round), count(proofs.size));
    case 'bad':
      return '';
  }
}

function newState(): HTMLElement {
  return make('div', 'state', make('dt'), make('dd', 'number'), make('dd', 'quiet'));
}

function drawState(
  row: HTMLElement,
  state: (typeof STATES)[number],
  earnings: EarningsView | undefined,
): void {
  const [label, amount, meaning] = row.children as unknown as HTMLElement[];
  if (!label || !amount || !meaning) return;
  row.dataset.state = state;
  setText(label, say.earnings[state].name);
  setText(amount, count(earnings?.[state] ?? 0));
  setText(meaning, say.earnings[state].means);
}

function newReceipt(): HTMLElement {
  const head = make('th', 'number');
  head.scope = 'row';
  return make('tr', '', head, make('td', 'number'), make('td', 'number'), make('td', 'receipt'));
}

function drawReceipt(element: HTMLElement, row: ReceiptRow): void {
  const [round, work, amount, receipt] = element.children as unknown as HTMLElement[];
  if (!round || !work || !amount || !receipt) return;
  setText(round, count(row.round));
  setText(work, count(row.work));
  setText(amount, count(row.amount));
  receipt.dataset.checked = row.checked ? 'yes' : row.why ? 'no' : 'not yet';
  setText(receipt, row.checked ? say.receiptChecked : row.why ? say.receiptBad(row.why) : say.receiptOpen);
}

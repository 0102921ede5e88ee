// What this contributor earned: one number, what it is made of, and what of it this tab has proved itself.

import { byId, make, setList, setNote, setText } from '../dom.ts';
import { count, percent } from '../format.ts';
import { say } from '../strings.ts';
import type { EarningsView, ProofView, ReceiptRow, Snapshot } from '../wasm/net/tributary_web_net.js';

const STATES = ['provisional', 'verified', 'final', 'forfeited'] as const;

const card = byId('earnings');
const warning = byId('earnings-warning');
const total = byId('earned');
const states = byId('earnings-states');
const proof = byId('earnings-proof');
const receipts = byId('receipts');
const receiptsEmpty = byId('receipts-empty');
const receiptsBody = byId('receipts-body');

/** The one number: everything that was credited and not taken back. Before the first receipt it is what the
 * coordinator announced. */
export function earned(snapshot: Snapshot | undefined): number {
  const earnings = snapshot?.earnings;
  if (!earnings || earnings.proof.kind === 'none') return snapshot?.credits ?? 0;
  return earnings.provisional + earnings.verified + earnings.final;
}

/** Draws the panel. */
export function drawEarnings(snapshot: Snapshot | undefined): void {
  const earnings = snapshot?.earnings;
  const rows = earnings?.receipts ?? [];
  const found: ProofView = earnings?.proof ?? { kind: 'none' };
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
  card.dataset.proof = found.kind;
  setNote(warning, found.kind === 'bad' ? say.proofBad(found.why) : undefined);
  setText(proof, proofWords(found));
  receipts.hidden = rows.length === 0;
  receiptsEmpty.hidden = rows.length > 0;
  setList(receiptsBody, rows, (row) => String(row.round), newReceipt, drawReceipt);
}

function proofWords(found: ProofView): string {
  switch (found.kind) {
    case 'none':
      return say.proofNone;
    case 'good':
      return say.proofGood(count(found.round), count(found.size));
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
  const work = make('td', 'number', make('span'), make('span', 'share'));
  return make('tr', '', head, work, make('td', 'number proved'));
}

function drawReceipt(element: HTMLElement, row: ReceiptRow): void {
  const [round, work, amount] = element.children as unknown as HTMLElement[];
  const [own, share] = (work?.children ?? []) as unknown as HTMLElement[];
  if (!round || !own || !share || !amount) return;
  setText(round, count(row.round));
  setText(own, count(row.work));
  setText(share, say.ofAll(percent(row.all > 0 ? row.work / row.all : 0)));
  setText(amount, count(row.amount));
}

// What is known of the wallet, in words: who is paid, what can be claimed and what shows that, and what was sent.

import type { Sent } from '../claims.ts';
import { byId, make, setList, setNote, setText } from '../dom.ts';
import { count, day } from '../format.ts';
import { icon, type Wallet, type Way, wallets } from '../provider.ts';
import { say } from '../strings.ts';
import type { Account } from '../wallet.ts';
import type { AccountView, ChainFile, ClaimView } from '../wasm/net/tributary_web_net.js';

/** All that is drawn. */
export interface WalletView {
  /** The program that asks for a wallet. */
  code: { code: string; peer: string } | undefined;
  account: Account | undefined;
  /** null: this run has none. */
  chain: ChainFile | null | undefined;
  busy: string | undefined;
  trouble: { words: string; way: Way; help: () => void } | undefined;
  done: string | undefined;
  /** What the page read in the log itself. */
  log: AccountView | undefined;
  claims: ClaimView | undefined;
  sent: Sent[];
}

/** Characters of a peer id that tell one from another at a glance. */
const SHORT = 8;

const section = byId('wallet');
const state = byId('wallet-state');
const pending = byId('wallet-pending');
const off = byId('wallet-off');
const trouble = byId('wallet-trouble');
const help = byId<HTMLButtonElement>('wallet-help');
const done = byId('wallet-done');
const link = byId<HTMLButtonElement>('wallet-link');
const check = byId<HTMLButtonElement>('wallet-check');
const claims = byId('wallet-claims');
const ticks = byId('wallet-ticks');
const waits = byId('wallet-waits');
const claim = byId<HTMLButtonElement>('wallet-claim');
const fees = byId<HTMLButtonElement>('wallet-fees');
const sent = byId('wallet-sent');
const dialog = byId<HTMLDialogElement>('wallet-dialog');
const list = byId('wallets');
const none = byId('wallets-none');
const without = byId<HTMLButtonElement>('wallet-without');

const coins = new Intl.NumberFormat(document.documentElement.lang || 'en', { maximumFractionDigits: 18 });
/** An amount of the chain's coin, of its smallest unit, to the last digit. */
const coin = (smallest: string | bigint): string => coins.format(`${smallest}e-18` as `${number}`);

/** Draws the section. */
export function drawWallet(view: WalletView): void {
  const { account, chain, busy, log } = view;
  const paid = account?.wallet;
  // Whichever of the two says that there is one.
  const later = log?.pending && log.pending.from > (account?.round ?? 0) ? log.pending : undefined;
  const coming = account?.pending ?? later;
  section.dataset.wallet = paid ? 'linked' : 'none';
  setText(state, busy ?? stateWords(view, paid?.address));
  setNote(
    pending,
    paid && coming ? say.wallet.pending(paid.address, coming.address, count(coming.from)) : undefined,
  );
  setNote(off, chain === null ? say.wallet.off : undefined);
  setNote(trouble, view.trouble?.words);
  help.hidden = !view.trouble;
  if (view.trouble) {
    setText(help, say.wallet.ways[view.trouble.way]);
    help.onclick = view.trouble.help;
  }
  setNote(done, view.done);
  setText(link, view.code ? say.wallet.linkProgram : paid ? say.wallet.linkOther : say.wallet.link);
  check.hidden = !paid;
  for (const button of [link, check, claim, fees, help]) button.disabled = busy !== undefined;
  drawClaims(view);
  setList(
    sent,
    view.sent,
    (one) => one.hash,
    newSent,
    (row, one) => drawSent(row, one, chain?.explorer),
  );
}

function stateWords({ account, code, log }: WalletView, paid: string | undefined): string {
  if (code) return say.wallet.program(code.peer.slice(-SHORT));
  if (account?.queued) return say.wallet.queued(account.queued.address);
  if (!paid) return say.wallet.none;
  if (account?.wallet?.by === 'unproven') return say.wallet.unproven(paid);
  return log?.wallet?.address === paid
    ? say.wallet.paidChecked(paid, count(log.size))
    : say.wallet.paid(paid);
}

function drawClaims({ claims: found, chain, log }: WalletView): void {
  claims.hidden = !found;
  if (!found) return;
  setText(byId('wallet-due'), count(found.due));
  setText(byId('wallet-claimed'), count(found.claimed));
  setText(byId('wallet-fees-due'), coin(found.fees));
  for (const [at, tick] of found.ticks.entries()) {
    const row = ticks.children[at] as HTMLElement;
    row.dataset.tick = String(tick);
    setText(row.querySelector('b') as HTMLElement, tick ? say.wallet.yes : say.wallet.no);
  }
  const differs = found.differs !== undefined;
  waits.classList.toggle('bad', differs);
  setNote(
    waits,
    differs
      ? say.wallet.differs(count(found.differs ?? 0))
      : found.waits && found.waits.due > 0n
        ? say.wallet.waits(count(found.waits.due), day(Number(found.waits.from) * 1000))
        : !found.claim && log && chain
          ? say.wallet.closes(count(found.closes))
          : undefined,
  );
  claim.hidden = !found.claim;
  setText(claim, say.wallet.claim(count(found.due)));
  fees.hidden = !found.claim_fees;
  setText(fees, say.wallet.claimFees(coin(found.fees)));
}

function newSent(): HTMLElement {
  return make('li', '', make('span'), make('a', 'id'), make('span', 'quiet'));
}

function drawSent(row: HTMLElement, one: Sent, explorer: string | undefined | null): void {
  const [what, where, how] = row.children as unknown as [HTMLElement, HTMLAnchorElement, HTMLElement];
  row.dataset.state = one.state;
  const amount = one.what === 'claim' ? count(BigInt(one.amount)) : coin(one.amount);
  setText(what, say.wallet.sent[one.what](amount, day(one.at)));
  setText(where, `${one.hash.slice(0, 10)}…`);
  where.title = one.hash;
  // Nothing but a web address is made a link of.
  if (explorer && /^https?:/.test(explorer)) {
    where.href = `${explorer.replace(/\/$/, '')}/tx/${one.hash}`;
    where.target = '_blank';
    where.rel = 'noreferrer';
  }
  setText(how, say.wallet.states[one.state]);
}

// The choice of a wallet

let chosen: ((wallet: Wallet | undefined) => void) | undefined;
let refused: (() => void) | undefined;

/** Lets the person choose a wallet; `skip`: a button for going on without, which gives nothing, as Cancel does where
 * there is no such button. */
export function choose(words: string, skip?: string): Promise<Wallet | undefined> {
  setText(byId('wallet-dialog-words'), words);
  byId('wallet-signs').hidden = words === say.wallet.chooseAny;
  setText(without, skip ?? '');
  without.hidden = !skip;
  drawWallets();
  dialog.showModal();
  return new Promise((resolve, reject) => {
    chosen = resolve;
    refused = () => (skip ? reject(new Error('')) : resolve(undefined));
  }).finally(() => dialog.close()) as Promise<Wallet | undefined>;
}

/** Lists the wallets that are here. */
export function drawWallets(): void {
  none.hidden = wallets().length > 0;
  const create = () => {
    const picture = make('img');
    picture.alt = '';
    const button = make('button', '', picture, make('span'));
    button.type = 'button';
    return make('li', '', button);
  };
  setList(
    list,
    wallets(),
    ({ info }) => info.rdns,
    create,
    (row, wallet) => {
      const button = row.firstElementChild as HTMLButtonElement;
      const [picture, name] = button.children as unknown as [HTMLImageElement, HTMLElement];
      picture.hidden = !icon(wallet);
      if (icon(wallet) && picture.src !== icon(wallet)) picture.src = icon(wallet);
      setText(name, wallet.info.name);
      button.onclick = () => chosen?.(wallet);
    },
  );
}

without.addEventListener('click', () => chosen?.(undefined));
byId('wallet-cancel').addEventListener('click', () => dialog.close());
// The event comes late: the next choice may be open by then.
dialog.addEventListener('close', () => dialog.open || refused?.());

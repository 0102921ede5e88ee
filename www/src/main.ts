// The page's script: wires consent and buttons to the session, and the session to the views.

import './style.css';
import './earnings.css';
import { hasEarned, offerBackup, showName, startBackup } from './backup.ts';
import { diagnostics } from './diagnostics.ts';
import { byId, setNote, setText } from './dom.ts';
import { watchHidden } from './hidden.ts';
import { look } from './identity.ts';
import { Seat } from './lock.ts';
import { earnings, type Machine, measure, remembered } from './probe.ts';
import { type Contributor, isProgram, Program } from './program.ts';
import { holdScreenWhile, startRunning } from './running.ts';
import { forgetSamples, watchSamples } from './samples.ts';
import { Session } from './session.ts';
import { keep, recall } from './stored.ts';
import { say } from './strings.ts';
import { drawTrying, startTrying } from './try.ts';
import { uploadChoice } from './upload.ts';
import { drawLosses } from './view/chart.ts';
import { drawEarnings } from './view/earnings.ts';
import { drawFigures, drawLink } from './view/figures.ts';
import { drawPeers, drawRounds } from './view/lists.ts';
import { drawProbe } from './view/probe.ts';
import { drawClock, drawStatus } from './view/status.ts';
import { drawTroubles, type Remedy } from './view/troubles.ts';
import { isActive } from './view/view.ts';
import { drawVisits } from './view/visits.ts';
import * as visits from './visits.ts';
import type { DeviceChoice } from './wasm/net/tributary_web_net.js';

/** Milliseconds between two looks at the clock: the bar's transition takes as long. */
const TICK_MS = 250;

const start = byId<HTMLButtonElement>('start');
const consent = byId<HTMLInputElement>('consent');
const consentText = byId<HTMLDetailsElement>('consent-text');
const consentNote = byId('consent-note');

window.tributary = { snapshot: undefined };

const parameters = new URLSearchParams(location.search);
const upload = uploadChoice(byId<HTMLSelectElement>('upload'), (limit) => session.limitUpload(limit));
const device = deviceChoice(parameters.get('device'));
const session: Contributor = isProgram ? new Program(changed) : new Session(device, upload, changed);
let frame = 0;

function changed(): void {
  const { snapshot, starting } = session.view;
  window.tributary.snapshot = snapshot;
  if (snapshot) visits.note(snapshot);
  holdScreenWhile(starting || isActive(snapshot));
  // Many changes in one frame are one drawing; a background tab gets no frames and draws nothing.
  if (frame === 0) frame = requestAnimationFrame(draw);
}

function draw(): void {
  frame = 0;
  const { view } = session;
  const { snapshot } = view;
  drawStatus(view);
  drawTroubles(view, help);
  drawFigures(view);
  drawTrying(view);
  watchSamples(view, session);
  drawEarnings(snapshot);
  drawLosses(visits.losses(snapshot?.run?.id ?? view.run?.run, snapshot?.losses ?? []));
  drawPeers(snapshot);
  drawRounds(snapshot);
  drawVisits();
  if (isProgram) showName(snapshot?.me ?? '');
  else if (snapshot?.rounds.length) void hasEarned();
}

function deviceChoice(wish: string | null): DeviceChoice {
  return wish === 'gpu' || wish === 'cpu' ? wish : 'auto';
}

function help(remedy: Remedy): void {
  if (remedy === 'reload') location.reload();
  else if (remedy === 'again') void session.restart();
  else session.reconnect();
}

// Consent, and what the machine is good for

/** Ends a measurement that is under way: training needs the machine, and without consent nothing computes. */
let probing = new AbortController();

async function probe(known?: Machine): Promise<void> {
  probing.abort();
  probing = new AbortController();
  const { signal } = probing;
  drawProbe(known ? { machine: known, hourly: undefined } : 'measuring');
  const machine = known ?? (await measure(device, signal));
  if (signal.aborted) return;
  const run = session.view.run;
  drawProbe(machine ? { machine, hourly: run && (await earnings(machine, run)) } : 'unknown');
}

consent.checked = recall('consent') === true;
consentText.open = !consent.checked;
consent.addEventListener('change', () => {
  keep('consent', consent.checked || undefined);
  setNote(consentNote, undefined);
  if (consent.checked) {
    void offerBackup();
    void probe();
    return;
  }
  // Withdrawn: nothing computes from here on.
  probing.abort();
  drawProbe(undefined);
  session.dispose();
});
byId('probe-again').addEventListener('click', () => void probe());

start.addEventListener('click', () => {
  if (!isProgram && !consent.checked) {
    consentText.open = true;
    setNote(consentNote, say.consentFirst);
    consent.focus();
    return;
  }
  consentText.open = false;
  probing.abort();
  drawProbe(undefined);
  void session.start();
});
byId('finish').addEventListener('click', () => session.finish());
byId('stop').addEventListener('click', () => session.stop());
byId('reload').addEventListener('click', () => location.reload());
startRunning({
  pace: (percent) => session.pace(percent),
  pause: () => session.pause(say.pausedBattery),
  resume: () => void session.start(),
});
startTrying(session);
watchHidden(
  () => session.view.snapshot,
  (words) => {
    session.view.note = words;
    draw();
  },
);

// Wallets: nothing of them is loaded before there is something to link or somebody asks

const walletLink = byId<HTMLButtonElement>('wallet-link');
let wallets: Promise<typeof import('./wallet.ts')> | undefined;

async function startWallets(): Promise<typeof import('./wallet.ts') | undefined> {
  wallets ??= import('./wallet.ts').then(async (part) => {
    await part.startWallet();
    return part;
  });
  try {
    return await wallets;
  } catch (error) {
    wallets = undefined;
    setNote(byId('wallet-trouble'), say.wallet.notLoaded(String(error)));
    return undefined;
  }
}
walletLink.addEventListener('click', async () => (await startWallets())?.link());
const asksForWallet = (): boolean => location.hash.startsWith('#link=');
addEventListener('hashchange', () => {
  if (asksForWallet()) void startWallets();
});

// Clocks, connection, leaving

setInterval(() => {
  drawClock(session.view);
  drawLink(session.view);
}, TICK_MS);
for (const event of ['online', 'offline']) addEventListener(event, draw);
addEventListener('online', () => {
  if (isActive(session.view.snapshot)) session.reconnect();
});
addEventListener('pagehide', visits.write);
// Nothing of this page's own throws one of these: it is wasm that broke off.
addEventListener('error', ({ error }) => {
  if (error instanceof WebAssembly.RuntimeError) session.crashed(error.message);
});
addEventListener('unhandledrejection', ({ reason }) => {
  if (reason instanceof WebAssembly.RuntimeError) session.crashed(reason.message);
});
byId('visits-forget').addEventListener('click', () => {
  visits.forget();
  forgetSamples();
  draw();
});

const text = byId('diagnostics-text');
byId<HTMLDetailsElement>('diagnostics').addEventListener('toggle', async () => {
  setText(byId('copied'), '');
  setText(text, await diagnostics(session.view));
});
byId('copy').addEventListener('click', async () => {
  const copied = await navigator.clipboard?.writeText(text.textContent ?? '').then(
    () => true,
    () => false,
  );
  setText(byId('copied'), copied ? say.copied : say.copyFailed);
});

// One tab

const otherTab = byId('other-tab');
let begun = false;

function watchSeat(): void {
  const seat = new Seat((mine) => {
    if (!mine) session.dispose();
    setText(byId('other-tab-words'), mine ? '' : begun ? say.takenOver : say.otherTab);
    otherTab.hidden = mine;
    consent.disabled = !mine;
    start.disabled = !mine;
    if (mine && !begun) begin();
  });
  byId('take-over').addEventListener('click', () => seat.take());
}

// Any number of pages can show one program.
if (isProgram) {
  start.disabled = false;
  draw();
} else watchSeat();

/** What an idle page does once it is the tab that trains. */
function begin(): void {
  begun = true;
  draw();
  void startBackup(consent.checked, () => session.dispose());
  const preload = async () => {
    await session.preload(consent.checked);
    const machine = consent.checked ? remembered(device) : undefined;
    if (machine && !isActive(session.view.snapshot) && !session.view.starting) await probe(machine);
  };
  // Safari has no idle callback.
  void look().then(({ secret, earned }) => {
    if (asksForWallet() || (secret && earned) || recall('wallet')) void startWallets();
  });
  const idle = () => (window.requestIdleCallback ?? setTimeout)(() => void preload());
  if (document.readyState === 'complete') idle();
  else addEventListener('load', idle);
}

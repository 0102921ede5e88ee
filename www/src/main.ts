// The page's script: wires consent and buttons to the session, and the session to the views.

import './style.css';
import './earnings.css';
import { hasEarned, offerBackup, startBackup } from './backup.ts';
import { remember, remembered } from './consent.ts';
import { byId, setNote } from './dom.ts';
import { onlyTab } from './lock.ts';
import { Session } from './session.ts';
import { say } from './strings.ts';
import { uploadChoice } from './upload.ts';
import { drawLosses } from './view/chart.ts';
import { drawEarnings } from './view/earnings.ts';
import { drawFigures, drawLink } from './view/figures.ts';
import { drawPeers, drawRounds } from './view/lists.ts';
import { drawClock, drawStatus } from './view/status.ts';
import type { DeviceChoice } from './wasm/net/tributary_web_net.js';

/** Milliseconds between two looks at the clock: the bar's transition takes as long. */
const TICK_MS = 250;

const start = byId<HTMLButtonElement>('start');
const consent = byId<HTMLInputElement>('consent');
const consentNote = byId('consent-note');

window.tributary = { snapshot: undefined };

const parameters = new URLSearchParams(location.search);
const upload = uploadChoice(byId<HTMLSelectElement>('upload'), (limit) => session.limitUpload(limit));
const session = new Session(deviceChoice(parameters.get('device')), upload, () => {
  // Many changes in one frame are one drawing; a background tab gets no frames and draws nothing.
  window.tributary.snapshot = session.view.snapshot;
  if (frame === 0) frame = requestAnimationFrame(draw);
});
let frame = 0;

function draw(): void {
  frame = 0;
  const { view } = session;
  drawStatus(view);
  drawFigures(view);
  drawEarnings(view.snapshot);
  drawLosses(view.snapshot);
  drawPeers(view.snapshot);
  drawRounds(view.snapshot);
  if (view.snapshot?.rounds.length) void hasEarned();
}

function deviceChoice(wish: string | null): DeviceChoice {
  return wish === 'gpu' || wish === 'cpu' ? wish : 'auto';
}

consent.checked = remembered();
byId<HTMLDetailsElement>('consent-text').open = !consent.checked;
consent.addEventListener('change', () => {
  remember(consent.checked);
  setNote(consentNote, undefined);
  // Withdrawn: nothing computes from here on.
  if (consent.checked) void offerBackup();
  else session.dispose();
});

start.addEventListener('click', () => {
  if (!consent.checked) {
    byId<HTMLDetailsElement>('consent-text').open = true;
    setNote(consentNote, say.consentFirst);
    consent.focus();
    return;
  }
  byId<HTMLDetailsElement>('consent-text').open = false;
  void session.start();
});
byId('finish').addEventListener('click', () => session.finish());
byId('stop').addEventListener('click', () => session.stop());

setInterval(() => {
  drawClock(session.view);
  drawLink(session.view);
}, TICK_MS);

const waitNote = byId('other-tab');
void onlyTab(() => setNote(waitNote, say.otherTab)).then(() => {
  setNote(waitNote, undefined);
  consent.disabled = false;
  start.disabled = false;
  draw();
  void startBackup(consent.checked, () => session.dispose());
  if (document.readyState === 'complete') void session.preload();
  else addEventListener('load', () => void session.preload());
});

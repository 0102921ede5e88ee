// The figures of this contributor: tokens, speed, credits, loss, device, link.

import { byId, sentence, setNote, setText } from '../dom.ts';
import { compact, count, duration, loss } from '../format.ts';
import { say } from '../strings.ts';
import type { DeviceInfo, Link, Snapshot } from '../wasm/net/tributary_web_net.js';
import { earned } from './earnings.ts';
import { isActive, type View } from './view.ts';

const run = byId('run');
const tokens = byId('tokens');
const speed = byId('speed');
const credits = byId('credits');
const own = byId('own-loss');
const device = byId('device');
/** As `index.html` has it. */
const deviceNone = device.textContent ?? '';
const deviceNote = byId('device-note');
const link = byId('link');
const linkNote = byId('link-note');

/** Draws everything that does not depend on the time. */
export function drawFigures(view: View): void {
  const { snapshot } = view;
  const known = snapshot?.run;
  setText(
    run,
    known
      ? say.runLine(known.name, compact(known.params), duration(known.round_seconds * 1000))
      : (view.run?.name ?? ''),
  );
  const active = isActive(snapshot);
  setText(tokens, count(snapshot?.tokens ?? 0));
  setText(speed, active && snapshot ? count(snapshot.tokens_per_s) : say.none);
  setText(credits, count(earned(snapshot)));
  // One token is one byte, so nats a token become bits a byte by the logarithm's base.
  setText(own, loss(snapshot?.loss === undefined ? undefined : snapshot.loss / Math.LN2));
  const info = snapshot?.device;
  setText(device, info ? deviceWords(info) : deviceNone);
  setNote(deviceNote, info?.note ?? (window.isSecureContext ? undefined : say.insecure));
  drawLink(view);
}

/** A processor has no name in a browser, so its name says that it is one. */
function deviceWords({ backend, name }: DeviceInfo): string {
  const what = say.backend[backend];
  return name.toLowerCase().startsWith(what.toLowerCase()) ? sentence(name) : say.deviceNamed(what, name);
}

/** Draws the link, whose wait runs down by itself. */
export function drawLink(view: View): void {
  const { snapshot } = view;
  const now = snapshot?.link;
  link.dataset.link = now?.kind ?? 'off';
  setText(link, linkWords(now, snapshot, view.at));
  setNote(linkNote, now?.kind === 'away' ? now.why : undefined);
}

function linkWords(link: Link | undefined, snapshot: Snapshot | undefined, at: number): string {
  switch (link?.kind) {
    case undefined:
    case 'off':
      return say.linkOff;
    case 'online':
      return say.linkOnline;
    case 'dialling':
      return say.linkDialling;
    case 'away': {
      const wait = duration(link.retry_in_ms - (performance.now() - at));
      const kind = snapshot?.phase.kind;
      return say.linkAway(wait, kind === 'training' || kind === 'finishing');
    }
  }
}

// What helps whoever is asked for help: a text about this browser and this page's state. Holds no secret: neither
// the identity's key nor its name, and no addresses.

import { troubles } from './view/troubles.ts';
import type { View } from './view/view.ts';

/** The text, a line a fact. */
export async function diagnostics(view: View): Promise<string> {
  const { snapshot, run } = view;
  const { userAgent, hardwareConcurrency, onLine } = navigator;
  const facts = {
    page: __VERSION__,
    browser: userAgent,
    cores: hardwareConcurrency,
    secure: isSecureContext,
    isolated: crossOriginIsolated,
    online: onLine,
    hidden: document.hidden,
    webgpu: await adapter(),
    run: run && { name: run.name, id: run.run, protocol: run.version },
    device: snapshot?.device,
    phase: snapshot?.phase,
    link: snapshot?.link.kind,
    round: snapshot?.round,
    speed: snapshot?.tokens_per_s,
    links: snapshot && { up: snapshot.links.up, wanted: snapshot.links.wanted },
    notice: snapshot?.notice,
    error: view.error,
    troubles: troubles(view).map((trouble) => trouble.kind),
    clock: view.skewMs,
    time: new Date().toISOString(),
  };
  const lines = Object.entries(facts).map(([name, fact]) => {
    const words = JSON.stringify(fact) ?? 'none';
    // A browser's version looks like an address.
    return `${name}: ${name === 'browser' ? words : words.replaceAll(ADDRESS, '(address)')}\n`;
  });
  return lines.join('');
}

/** Network addresses, plain or as parts of a multiaddress, and peer ids. */
const ADDRESS = /\b(?:\d{1,3}\.){3}\d{1,3}\b|\b(?:[0-9a-f]{1,4}:){3,7}[0-9a-f]{1,4}\b|\b12D3KooW\w{44}\b/gi;

async function adapter(): Promise<unknown> {
  const found = await navigator.gpu?.requestAdapter().catch(() => null);
  if (!found) return undefined;
  const { vendor, architecture, description, isFallbackAdapter } = found.info;
  return { vendor, architecture, description, software: isFallbackAdapter };
}

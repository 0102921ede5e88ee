// How much memory processes take, watched while something runs. Linux alone says so; elsewhere it is unknown.

import { readFile } from 'node:fs/promises';

/** Between two looks, in milliseconds. */
const LOOK = 20;
const MIB = 1024 * 1024;

/** Resident bytes that are the process's own; undefined once it is gone. */
async function resident(pid) {
  const status = await readFile(`/proc/${pid}/status`, 'utf8').catch(() => '');
  const kib = (name) => Number(new RegExp(`^${name}:\\s+(\\d+) kB`, 'm').exec(status)?.[1]);
  return (kib('RssAnon') + kib('RssShmem')) * 1024;
}

/** The browser's processes and the native peers'. */
async function processes(browser, peers) {
  const session = await browser.newBrowserCDPSession();
  const { processInfo } = await session.send('SystemInfo.getProcessInfo');
  await session.detach();
  const native = peers.filter((peer) => peer.child).map((peer) => peer.child.pid);
  return [...processInfo.map(({ id }) => id), ...native];
}

/** What the greediest process takes beyond what it has now, until `stop` says it in MiB. */
export async function watchMemory(browser, peers) {
  const first = new Map();
  const peak = new Map();
  const pids = await processes(browser, peers);
  const look = async () => {
    for (const pid of pids) {
      const bytes = await resident(pid);
      if (!Number.isFinite(bytes)) continue;
      if (!first.has(pid)) first.set(pid, bytes);
      peak.set(pid, Math.max(bytes, peak.get(pid) ?? 0));
    }
  };
  await look();
  let watching = true;
  const watched = (async () => {
    while (watching) {
      await look();
      await new Promise((resolve) => setTimeout(resolve, LOOK));
    }
  })();
  return async () => {
    watching = false;
    await watched;
    const extra = [...peak].map(([pid, bytes]) => (bytes - first.get(pid)) / MIB);
    return extra.length > 0 ? Math.max(...extra) : null;
  };
}

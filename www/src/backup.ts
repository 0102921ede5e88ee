// Who this tab is, as a file: saved, restored, and said to be missing until it is there.

import { byId, make, saveFile, sentence, setList, setNote, setText } from './dom.ts';
import { type Identity, identity, look, noteEarned, noteSaved, replace } from './identity.ts';
import { loadNet } from './net.ts';
import { say } from './strings.ts';

/** The most bytes of a chosen file that are read: a backup has a few hundred. */
const MOST_BYTES = 16 * 1024;
/** Characters of a peer id that tell one from another at a glance. */
const SHORT = 8;

const section = byId('identity');
const name = byId('identity-name');
const state = byId('identity-state');
const done = byId('identity-done');
const save = byId<HTMLButtonElement>('save');
const restore = byId<HTMLButtonElement>('restore');
const earlier = byId('earlier');
const earlierTitle = byId('earlier-title');
const dialog = byId<HTMLDialogElement>('restore-dialog');
const file = byId<HTMLInputElement>('restore-file');
const text = byId<HTMLTextAreaElement>('restore-text');
const warning = byId('restore-warning');
const error = byId('restore-error');
const go = byId<HTMLButtonElement>('restore-do');

let now: Identity | undefined;
/** The backup that the person was asked about, until it changes. */
let asked = '';

/** Wires the section up; `letGo` stops whatever runs as the identity that is being replaced. */
export async function startBackup(agreed: boolean, letGo: () => void): Promise<void> {
  save.addEventListener('click', () => void saveBackup(now?.secret));
  restore.addEventListener('click', () => {
    forget();
    dialog.showModal();
  });
  byId('restore-cancel').addEventListener('click', () => dialog.close());
  // What was typed is a secret: it does not stay in the page.
  dialog.addEventListener('close', forget);
  for (const field of [file, text]) field.addEventListener('input', () => setAsked(''));
  file.addEventListener('input', () => {
    text.value = '';
  });
  go.addEventListener('click', () => void restoreBackup(letGo));
  restore.disabled = false;
  await draw(await (agreed ? identity() : look()));
}

/** The person agreed to compute: from now on there is an identity, and its backup is offered. */
export const offerBackup = async (): Promise<void> => draw(await identity());

/** The identity took part in a round. */
export async function hasEarned(): Promise<void> {
  if (now?.secret && !now.earned) now = await noteEarned();
}

/** Says who this contributor is. */
export function showName(id: string): void {
  setText(name, id.slice(-SHORT));
  name.title = id;
}

async function draw(next: Identity): Promise<void> {
  now = next;
  const { secret, saved } = next;
  save.disabled = !secret;
  save.classList.toggle('main', !!secret && !saved);
  section.dataset.backup = secret ? (saved ? 'saved' : 'missing') : 'none';
  setText(state, secret ? (saved ? say.backupSaved : say.backupMissing) : say.identityNone);
  earlierTitle.hidden = next.earlier.length === 0;
  if (!secret && next.earlier.length === 0) return setText(name, '');
  // Names need the wasm module, which may not be here yet; whatever trouble that has is told at Start.
  const net = await loadNet().catch(() => undefined);
  if (!net || now !== next) return;
  showName(secret ? net.peerId(secret) : '');
  setList(earlier, next.earlier, net.peerId, newEarlier, (row, one) =>
    drawEarlier(row, net.peerId(one), one),
  );
}

function newEarlier(): HTMLElement {
  const button = make('button', 'small');
  button.type = 'button';
  return make('li', '', make('span', 'id'), button);
}

function drawEarlier(row: HTMLElement, id: string, secret: Uint8Array): void {
  const [label, button] = row.children as unknown as [HTMLElement, HTMLButtonElement];
  setText(label, id.slice(-SHORT));
  label.title = id;
  setText(button, say.saveEarlier);
  button.setAttribute('aria-label', say.saveEarlierNamed(id.slice(-SHORT)));
  button.onclick = () => void saveBackup(secret);
}

/** Hands the backup to the browser as a download. */
async function saveBackup(secret: Uint8Array | undefined): Promise<void> {
  if (!secret) return;
  try {
    const net = await loadNet();
    const fileName = `tributary-backup-${net.peerId(secret).slice(-SHORT)}.txt`;
    saveFile(fileName, new Blob([net.backupSheet(secret)], { type: 'text/plain' }));
    await draw(await noteSaved(secret));
    setNote(done, say.backupDone(fileName));
  } catch (why) {
    setNote(done, words(why));
  }
}

async function restoreBackup(letGo: () => void): Promise<void> {
  setNote(error, undefined);
  try {
    const [chosen] = file.files ?? [];
    const given = chosen && !text.value ? await chosen.slice(0, MOST_BYTES).text() : text.value;
    const net = await loadNet();
    const secret = net.backupSecret(given);
    const id = net.peerId(secret);
    const before = await look();
    const beforeId = before.secret && net.peerId(before.secret);
    if (beforeId && beforeId !== id && before.earned && asked !== id) {
      setNote(warning, say.restoreReplaces(beforeId.slice(-SHORT), id.slice(-SHORT)));
      return setAsked(id);
    }
    const next = await replace(secret);
    if (!next) return setNote(error, say.restoreTooMany);
    // Nothing goes on earning for the one that is replaced.
    if (beforeId !== id) letGo();
    dialog.close();
    // The tab begins anew as the restored one. Without storage a reload would lose it, so it stays.
    if (next.durable && beforeId !== id) return location.reload();
    await draw(next);
    setNote(done, next.durable ? say.restoreSame : say.restoreForNow);
  } catch (why) {
    setNote(error, words(why));
  }
}

function setAsked(id: string): void {
  asked = id;
  setText(go, id ? say.restoreReplace : say.restoreDo);
  if (!id) setNote(warning, undefined);
}

function forget(): void {
  file.value = '';
  text.value = '';
  setNote(error, undefined);
  setAsked('');
}

const words = (why: unknown): string => sentence(why instanceof Error ? why.message : String(why));

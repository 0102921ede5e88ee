// The contributor's secret: 32 random bytes, made once and kept in this browser's IndexedDB, with what is
// known of it. Those that a restored backup took the place of are kept too, since they own what they earned.

/** Bytes of an Ed25519 secret. */
const SECRET_BYTES = 32;
/** Replaced identities that are kept; a person has two or three, and none may be lost unasked. */
const MOST_EARLIER = 16;
const DATABASE = 'tributary';
const STORE = 'identity';

/** What is kept, each part under its own key. */
export interface Kept {
  secret: Uint8Array | undefined;
  /** Whether there is a copy of it outside this browser. */
  saved: boolean;
  /** Whether it took part in a round, so that it may own credits. */
  earned: boolean;
  /** Secrets that took part and were replaced, newest first. */
  earlier: Uint8Array[];
}

/** What is kept, and whether a reload finds it again. */
export interface Identity extends Kept {
  durable: boolean;
}

/** In place of storage that is denied, full or broken: the person is told, and training works all the same. */
let memory: Kept = { secret: undefined, saved: false, earned: false, earlier: [] };

/** What there is, without making anything. */
export const look = (): Promise<Identity> => change((kept) => kept);

/** The identity, which the first call makes. */
export async function identity(): Promise<Identity & { secret: Uint8Array }> {
  const fresh = crypto.getRandomValues(new Uint8Array(SECRET_BYTES));
  const now = await change((kept) =>
    kept.secret ? kept : { ...kept, secret: fresh, saved: false, earned: false },
  );
  return { ...now, secret: now.secret ?? fresh };
}

/** Remembers that there is a copy of this secret elsewhere. */
export const noteSaved = (secret: Uint8Array): Promise<Identity> =>
  change((kept) => (isSame(kept.secret, secret) ? { ...kept, saved: true } : kept));

/** Remembers that the identity has something to lose. */
export const noteEarned = (): Promise<Identity> => change((kept) => ({ ...kept, earned: true }));

/** Makes a secret that came from a backup the identity; the one before stays among the earlier ones.
 * Gives nothing if there are too many of them to keep one more. */
export async function replace(secret: Uint8Array): Promise<Identity | undefined> {
  const now = await change((kept) => {
    if (isSame(kept.secret, secret)) return { ...kept, saved: true };
    const before = kept.secret && kept.earned ? [kept.secret] : [];
    const earlier = [...before, ...kept.earlier].filter((one) => !isSame(one, secret));
    if (earlier.length > MOST_EARLIER) return kept;
    // What it earned elsewhere is not known here, so it counts as having earned.
    return { secret, saved: true, earned: true, earlier };
  });
  return isSame(now.secret, secret) ? now : undefined;
}

/** Whether these are the same bytes. */
export function isSame(one: Uint8Array | undefined, other: Uint8Array): boolean {
  return one?.length === other.length && one.every((byte, at) => byte === other[at]);
}

/** Reads what is kept and writes what `next` makes of it, in one transaction, so that two tabs that do so
 * at once agree. */
async function change(next: (kept: Kept) => Kept): Promise<Identity> {
  try {
    const database = await open();
    try {
      return { ...(await changeIn(database, next)), durable: true };
    } finally {
      database.close();
    }
  } catch {
    memory = next(memory);
    return { ...memory, durable: false };
  }
}

function open(): Promise<IDBDatabase> {
  return new Promise((resolve, reject) => {
    const request = indexedDB.open(DATABASE, 1);
    request.onupgradeneeded = () => request.result.createObjectStore(STORE);
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error);
    request.onblocked = () => reject(new Error('blocked'));
  });
}

function changeIn(database: IDBDatabase, next: (kept: Kept) => Kept): Promise<Kept> {
  return new Promise((resolve, reject) => {
    const transaction = database.transaction(STORE, 'readwrite');
    const store = transaction.objectStore(STORE);
    const reads = {
      secret: store.get('secret'),
      saved: store.get('saved'),
      earned: store.get('earned'),
      earlier: store.get('earlier'),
    };
    let now = memory;
    // Answers come in the order of the questions, so this is the last.
    reads.earlier.onsuccess = () => {
      const before: Kept = {
        secret: isSecret(reads.secret.result) ? reads.secret.result : undefined,
        saved: reads.saved.result === true,
        // One that was made before this was noted may have earned.
        earned: reads.earned.result !== false,
        earlier: Array.isArray(reads.earlier.result) ? reads.earlier.result.filter(isSecret) : [],
      };
      now = next(before);
      if (now === before) return;
      for (const [key, value] of Object.entries(now)) store.put(value, key);
    };
    transaction.oncomplete = () => resolve(now);
    transaction.onabort = () => reject(transaction.error);
    transaction.onerror = () => reject(transaction.error);
  });
}

const isSecret = (value: unknown): value is Uint8Array =>
  value instanceof Uint8Array && value.length === SECRET_BYTES;

// The contributor's secret: 32 random bytes, made once and kept in this browser's IndexedDB.

/** Bytes of an Ed25519 secret. */
const SECRET_BYTES = 32;
const DATABASE = 'tributary';
const STORE = 'identity';
const KEY = 'secret';

export interface Identity {
  secret: Uint8Array;
  /** Whether a reload finds it again. */
  kept: boolean;
}

/** The kept identity, a new one that is kept from now on, or, without storage, a temporary one. */
export async function identity(): Promise<Identity> {
  const fresh = crypto.getRandomValues(new Uint8Array(SECRET_BYTES));
  try {
    const database = await open();
    try {
      return { secret: await keep(database, fresh), kept: true };
    } finally {
      database.close();
    }
  } catch {
    // Storage is denied, full or broken: the person is told, and training works all the same.
    return { secret: fresh, kept: false };
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

/** The stored secret; `fresh` is stored and taken if there is none. One transaction, so that two
 * tabs that open at once agree. */
function keep(database: IDBDatabase, fresh: Uint8Array): Promise<Uint8Array> {
  return new Promise((resolve, reject) => {
    const transaction = database.transaction(STORE, 'readwrite');
    const store = transaction.objectStore(STORE);
    const read = store.get(KEY);
    let secret = fresh;
    read.onsuccess = () => {
      const found: unknown = read.result;
      if (found instanceof Uint8Array && found.length === SECRET_BYTES) secret = found;
      else store.put(fresh, KEY);
    };
    transaction.oncomplete = () => resolve(secret);
    transaction.onabort = () => reject(transaction.error);
    transaction.onerror = () => reject(transaction.error);
  });
}

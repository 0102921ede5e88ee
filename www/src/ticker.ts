// Timers for the page: a worker's are not slowed down when the tab is in the background.

/** A wish to be woken. */
export interface Wake {
  id: number;
  ms: number;
}

addEventListener('message', (event: MessageEvent<Wake>) => {
  const { id, ms } = event.data;
  setTimeout(() => postMessage(id), ms);
});

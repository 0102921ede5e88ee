// The few helpers with which the views write into the page. Text goes in as text, never as HTML,
// because peers choose some of it.

/** The element with this id, which `index.html` must have. */
export function byId<T extends HTMLElement = HTMLElement>(id: string): T {
  const element = document.getElementById(id);
  if (!element) throw new Error(`index.html has no #${id}`);
  return element as T;
}

/** A new element. */
export function make<K extends keyof HTMLElementTagNameMap>(
  tag: K,
  className = '',
  ...children: (Node | string)[]
): HTMLElementTagNameMap[K] {
  const element = document.createElement(tag);
  if (className) element.className = className;
  element.append(...children);
  return element;
}

/** Sets the text if it changed, so that screen readers and selections are left alone. */
export function setText(element: HTMLElement, text: string): void {
  if (element.textContent !== text) element.textContent = text;
}

/** What Rust says in the middle of a sentence, as a sentence of its own. */
export const sentence = (text: string): string => text.charAt(0).toUpperCase() + text.slice(1);

/** Shows a text, or hides the element when there is none. */
export function setNote(element: HTMLElement, text: string | undefined): void {
  setText(element, sentence(text ?? ''));
  element.hidden = !text;
}

/** Hands a file to the browser as a download. */
export function saveFile(name: string, blob: Blob): void {
  const link = make('a');
  link.href = URL.createObjectURL(blob);
  link.download = name;
  link.click();
  // By then every browser has begun to copy it.
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}

/** Makes `parent` hold one child per item, in order, and keeps the children whose key stays. */
export function setList<T>(
  parent: HTMLElement,
  items: readonly T[],
  key: (item: T) => string,
  create: () => HTMLElement,
  update: (element: HTMLElement, item: T) => void,
): void {
  const old = new Map<string, HTMLElement>();
  for (const child of parent.children)
    old.set((child as HTMLElement).dataset.key ?? '', child as HTMLElement);
  let place: Element | null = parent.firstElementChild;
  for (const item of items) {
    const name = key(item);
    let element = old.get(name);
    old.delete(name);
    if (!element) {
      element = create();
      element.dataset.key = name;
    }
    update(element, item);
    if (element === place) place = place.nextElementSibling;
    else parent.insertBefore(element, place);
  }
  for (const gone of old.values()) gone.remove();
}

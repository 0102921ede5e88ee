// Several pictures side by side as one, for the README: node sheet.mjs OUT.png PICTURE.png…, with their names above them.

import { readFile, writeFile } from 'node:fs/promises';
import { basename } from 'node:path';
import { launch } from './launch.mjs';

const [out, ...pictures] = process.argv.slice(2);
const figures = pictures.map(async (path) => {
  const name = basename(path, '.png').split('-')[1];
  return `<figure><figcaption>${name}</figcaption><img src="data:image/png;base64,${await readFile(path, 'base64')}"></figure>`;
});
const style = 'body{margin:0;padding:16px;display:inline-flex;gap:16px;background:#e4e9e7;font:600 15px sans-serif}figure{margin:0}figcaption{margin-bottom:6px}';

const browser = await launch([], []);
const page = await browser.newPage({ viewport: { width: 2400, height: 800 } });
await page.setContent(`<style>${style}</style>${(await Promise.all(figures)).join('')}`);
await writeFile(out, await page.locator('body').screenshot());
await browser.close();

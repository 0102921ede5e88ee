// Who the tab is: backups, restoring, and the ones that were here before.

import { readFile } from 'node:fs/promises';
import { snapshot, start, until } from '../launch.mjs';
import { expect, phase } from './suite.mjs';

/** Somebody's backup, as the program wrote it. */
const OTHER = 'tributary-identity-1:46WPtSJH9Mc1rNbRaWo6k2v6Bm8dc1FuCFxS2n6gFo7M2ZwPH';

/** The name that the page shows, in full. */
const named = (page) => until('a name', 30, () => page.locator('#identity-name').getAttribute('title'));
const backup = (page, state) => page.locator(`#identity[data-backup="${state}"]`).waitFor({ timeout: 15_000 });

/** Presses a button that saves a backup, and gives the file's text. */
async function save(page, button) {
  const [download] = await Promise.all([page.waitForEvent('download', { timeout: 15_000 }), button.click()]);
  expect(/^tributary-backup-\w{8}\.txt$/.test(download.suggestedFilename()), download.suggestedFilename());
  return readFile(await download.path(), 'utf8');
}

/** Pastes a backup and presses Restore. */
async function paste(page, text) {
  await page.locator('#restore:enabled').click();
  await page.locator('#restore-text').fill(text);
  await page.locator('#restore-do').click();
}

/** Adds its checks to the suite. */
export default async function checks(suite) {
  await suite.check('a backup is offered before anything is earned, and is the same contributor elsewhere', async (page, complaints) => {
    await page.goto(suite.url);
    await backup(page, 'none');
    expect(await page.locator('#save').isDisabled(), 'there is nothing to save yet');
    await page.locator('#consent:enabled').check();
    await backup(page, 'missing');
    expect((await phase(page)) === undefined, 'it did not wait for Start');
    const me = await named(page);
    const text = await save(page, page.locator('#save'));
    await backup(page, 'saved');
    await page.reload();
    await backup(page, 'saved');

    const elsewhere = await suite.browser.newContext();
    const other = await elsewhere.newPage();
    await other.goto(`${suite.url}?device=cpu`);
    await other.locator('#restore:enabled').click();
    const file = { name: 'kept.txt', mimeType: 'text/plain', buffer: Buffer.from(text.replaceAll('\n', '\r\n')) };
    await other.locator('#restore-file').setInputFiles(file);
    await Promise.all([other.waitForEvent('load'), other.locator('#restore-do').click()]);
    await backup(other, 'saved');
    expect((await named(other)) === me, `it was ${me} and shows ${await named(other)}`);
    await start(other);
    const joined = await until('a snapshot', 60, () => snapshot(other));
    expect(joined.me === me, `it was ${me} and trains as ${joined.me}`);
    await elsewhere.close();
    expect(complaints.length === 0, 'it complained');
  });

  await suite.check('a backup with a typing error changes nothing and says why', async (page) => {
    await page.goto(suite.url);
    await page.locator('#consent:enabled').check();
    const me = await named(page);
    for (const [text, words] of [
      ['my shopping list', 'not a backup'],
      [OTHER.replace('PH', 'Ph'), 'typing error'],
      [OTHER.replace('-1:', '-2:'), 'format 2'],
    ]) {
      await paste(page, text);
      await page.locator('#restore-error:visible').filter({ hasText: words }).waitFor({ timeout: 15_000 });
      await page.locator('#restore-cancel').click();
      await until('the text is gone', 5, async () => (await page.locator('#restore-text').inputValue()) === '');
    }
    await page.reload();
    await backup(page, 'missing');
    expect((await named(page)) === me, 'it is somebody else');
  });

  await suite.check('an identity that took part is replaced after one question, and can still be saved', async (page) => {
    await page.goto(`${suite.url}?device=cpu`);
    await start(page);
    await until('a round', 120, async () => (await snapshot(page))?.rounds.length);
    const me = await named(page);
    await paste(page, `${OTHER.slice(0, 40)}\n  ${OTHER.slice(40)}`);
    await page.locator('#restore-warning:visible').waitFor({ timeout: 15_000 });
    expect((await phase(page)) === 'training', 'it stopped before the answer');
    await Promise.all([page.waitForEvent('load'), page.locator('#restore-do').click()]);
    await backup(page, 'saved');
    const next = await named(page);
    expect(next !== me, 'it is the same as before');

    const text = await save(page, page.locator('#earlier button'));
    expect(text.includes(me), 'the saved backup is of somebody else');
    await paste(page, text);
    await page.locator('#restore-warning:visible').waitFor({ timeout: 15_000 });
    await Promise.all([page.waitForEvent('load'), page.locator('#restore-do').click()]);
    expect((await named(page)) === me, 'it did not come back');
    const names = await page.locator('#earlier .id').evaluateAll((all) => all.map((one) => one.title));
    expect(names.join() === next, `earlier ones: ${names.join()}`);
  });
}

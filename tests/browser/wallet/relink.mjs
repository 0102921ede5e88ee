// Another wallet: with the old one's word at once, without it after a wait that is shown; and a wallet that is a contract.

import { until } from '../launch.mjs';
import { expect } from '../page/suite.mjs';
import { account } from './world.mjs';

/** A contract that says yes to every signature (EIP-1271): it returns the function's own four bytes. */
const YES = '0x631626ba7e60e01b60005260206000f3';
const CONTRACT = '0x00000000000000000000000000000000C0FFee00';

export default async function checks(stage) {
  const { main, second, world, page } = stage;
  const known = async () => world.get(`api/account/${await stage.peer()}`);

  await stage.check('another wallet waits without the old one’s word, and the page says so loudly', async () => {
    await stage.train();
    second.accounts = [2];
    await stage.link(second);
    await page.locator('#wallet-without:visible').waitFor({ timeout: 15_000 });
    await stage.picture('handover');
    await page.locator('#wallet-without').click();
    await stage.says('#wallet-done', 'Linked');
    await until('the log has it', 120, async () => (await known()).pending?.address === account(2).address);
    await stage.says('#wallet-pending', `72 hours of rounds after it was asked for, ${account(2).address} takes the place of ${account(1).address}`, 90);
    const { wallet, pending, round } = await known();
    expect(wallet.address === account(1).address && pending.from > round + 1_000, JSON.stringify({ wallet, pending, round }));
    await stage.picture('pending');
  });

  await stage.check('the old wallet’s account must be there to sign, and then the other takes its place at once', async () => {
    await stage.link(second);
    await stage.choose(second);
    await stage.trouble('other accounts than');
    await stage.press('#wallet-help');
    await stage.choose(second);
    await stage.choose(main);
    await stage.says('#wallet-done', 'Linked', 60);
    await until('it is paid', 120, async () => (await known()).wallet?.address === account(2).address);
    await stage.says('#wallet-state', `${account(2).address} gets what you earn`, 90);
    expect((await known()).pending === null, 'something waits still');
    expect(!(await page.locator('#wallet-pending').isVisible()), 'a change is shown that is over');
  });

  await stage.check('a wallet that is a contract is asked on the chain', async () => {
    await world.chain('anvil_setCode', CONTRACT, YES);
    second.instead = (method, params) => {
      if (method === 'eth_requestAccounts') return [CONTRACT];
      if (method === 'personal_sign' && params[1] === CONTRACT) return `0x${'11'.repeat(80)}`;
      return undefined;
    };
    await stage.press('#wallet-link');
    await stage.choose(second);
    await page.locator('#wallet-without:visible').click({ timeout: 30_000 });
    await stage.says('#wallet-done', 'Linked', 60);
    await until('the log has it', 120, async () => (await known()).pending?.by === 'contract');
  });

  await stage.check('a text that is older than five minutes is refused, and a new one asked for', async () => {
    await until('the text is old', 300, () => Date.now() / 1000 > stage.old.issued + 300);
    await page.route('**/api/link/nonce', (route) => route.fulfill({ json: stage.old }));
    await stage.link(main);
    await page.locator('#wallet-without:visible').click({ timeout: 15_000 });
    await stage.trouble('older than five minutes: ask for a new one');
    await page.unroute('**/api/link/nonce');
  });
}

// From an epoch's end to shares and fees in the wallet, with a chain that lies, hangs or is another on the way.

import { until } from '../launch.mjs';
import { expect } from '../page/suite.mjs';
import { account, DELAY, ROUNDS, viem } from './world.mjs';

const SHARES = 'balanceOf(address) view returns (uint256)';
const CLAIMED = 'claimed(address) view returns (uint256)';

export default async function checks(stage) {
  const { main, world, page } = stage;
  const wallet = account(1).address;
  const yes = ['true', 'true', 'true', 'true', 'true'];
  const digits = async (selector) => BigInt((await page.locator(selector).innerText()).replaceAll(/\D/g, ''));
  /** The newest transaction is this one and has ended well. */
  const done = (what) =>
    page.locator('#wallet-sent li').first().filter({ hasText: what }).filter({ hasText: 'Done.' }).waitFor({ timeout: 60_000 });

  await stage.check('a coordinator that is gone is told, and a page that was open goes on when it is back', async () => {
    await world.deploy();
    await world.stopServing();
    await stage.press('#wallet-check');
    await stage.trouble('The coordinator does not answer');
    await world.serve(true);
    await stage.press('#wallet-help');
    await until('no trouble', 60, async () => !(await page.locator('#wallet-trouble').isVisible()));
    const { chain, rounds, distributor } = await world.get('api/chain');
    expect(chain === '31337' && rounds === ROUNDS && distributor === world.deployed.distributor, 'another chain');
  });

  await stage.check('before a root is there the page says when one comes', async () => {
    await stage.train();
    await stage.rounds(ROUNDS + 1);
    await stage.look();
    await stage.says('#wallet-waits', 'closes with round');
    expect((await stage.ticks()).join() === 'true,true,true,false,false', await stage.text());
  });

  await stage.check('an operator’s program that is killed after it sent goes on with what it sent', async () => {
    const operator = account(0).address;
    const nonce = () => world.chain('eth_getTransactionCount', operator, 'latest');
    const before = Number(await nonce());
    await world.operateAndKill('submit', world.url);
    await world.operate('submit', world.url).catch((error) => expect(/TooEarly|no epoch has closed/.test(error.stderr), error.stderr));
    const sent = Number(await nonce()) - before;
    const next = await world.read(world.deployed.distributor, 'next() view returns (uint64)');
    expect(BigInt(sent) === next && sent > 0, `${sent} transactions submitted ${next} epochs`);
  });

  await stage.check('a root that waits says until when, and nothing can be claimed', async () => {
    await world.submit();
    await stage.look();
    await stage.says('#wallet-waits', 'waits for a possible veto');
    expect(!(await page.locator('#wallet-claim').isVisible()), 'it can be claimed');
    await stage.picture('waits');
  });

  await stage.check('another network is told, and one press switches it', async () => {
    main.chain = '0x1';
    await stage.press('#wallet-check');
    await stage.trouble('The wallet is on another network', true);
    await page.locator('#wallet-claims:visible').waitFor({ timeout: 60_000 });
    expect(main.chain === '0x7a69', `it is on ${main.chain}`);
    main.chain = '0x1';
    main.instead = (method) => {
      if (method === 'wallet_switchEthereumChain') throw Object.assign(new Error('Unrecognized chain'), { code: 4902 });
    };
    await stage.press('#wallet-check');
    await stage.trouble('another network', true);
    await stage.trouble('does not know this network');
    main.chain = undefined;
  });

  await stage.check('a node that lies about a root is caught, and nothing can be claimed from it', async () => {
    await world.mine(DELAY + 1);
    main.instead = async (method, params) => {
      const answer = method === 'eth_call' && (await world.chain(method, ...params));
      // Six words are an epoch; its root is the first.
      return answer.length === 2 + 6 * 64 ? `0x${'ab'.repeat(32)}${answer.slice(66)}` : undefined;
    };
    await stage.look();
    await stage.says('#wallet-waits', 'the chain has another root than the log gives');
    expect(!(await page.locator('#wallet-claim').isVisible()), 'it can be claimed');
    expect((await stage.ticks())[4] === 'false', 'the root is ticked');
    await stage.picture('lies');
  });

  await stage.check('a node that is down, and one that has no such contract, are told', async () => {
    main.instead = (method) => {
      if (method === 'eth_call') throw Object.assign(new Error('HTTP 502'), { code: -32603 });
    };
    await stage.press('#wallet-check');
    await stage.trouble('HTTP 502');
    main.instead = (method) => (method === 'eth_call' ? '0x' : undefined);
    await stage.press('#wallet-help');
    await stage.trouble('has no such contract');
    main.instead = (method) => (method === 'eth_call' ? new Promise(() => {}) : undefined);
    await stage.press('#wallet-help');
    await stage.trouble('does not answer');
  });

  await stage.check('a round that settles while the chain is asked makes no log a rewritten one', async () => {
    const seen = () => page.evaluate(() => localStorage.getItem('tributary.checkpoint'));
    let newer;
    main.instead = async (method) => {
      if (method !== 'eth_call') return;
      const before = await seen();
      // Once: less than the page waits for an answer, more than a round takes.
      await (newer ??= until('a newer checkpoint', 18, async () => (await seen()) !== before));
    };
    await stage.look();
    expect((await newer) && (await stage.ticks()).join() === yes.join(), await stage.text());
  });

  await stage.check('a claim whose block the chain takes back is due again', async () => {
    await stage.look();
    const due = await digits('#wallet-due');
    const before = await world.chain('evm_snapshot');
    await stage.press('#wallet-claim');
    await done('credits');
    await until('claimed is shown', 60, async () => (await digits('#wallet-claimed')) === due);
    await world.chain('evm_revert', before);
    await stage.look();
    await stage.says('#wallet-sent', 'the network has not shown it yet');
    expect((await digits('#wallet-due')) === due && (await digits('#wallet-claimed')) === 0n, await stage.text());
  });

  await stage.check('five ticks, one claim, and the balance on the chain is the ledger’s', async () => {
    await stage.look();
    expect((await stage.ticks()).join() === yes.join(), await stage.text());
    await stage.picture('claimable');
    const due = await digits('#wallet-due');
    await stage.press('#wallet-claim');
    await done('credits');
    await stage.says('#wallet-sent', `claim of ${new Intl.NumberFormat('en').format(due)} credits`);
    const [held, claimed] = [await world.read(world.deployed.share, SHARES, wallet), await world.read(world.deployed.distributor, CLAIMED, wallet)];
    const sums = await world.submit();
    expect(due > 0n && held === due && claimed === due, `due ${due}, held ${held}, claimed ${claimed}`);
    // The list of a later epoch has at least as much, and the difference is what is due next.
    expect(sums.get(wallet) >= due, `the ledger says ${sums.get(wallet)}`);
    await until('claimed is shown', 60, async () => (await digits('#wallet-claimed')) === due);
    const link = await page.locator('#wallet-sent a').first().getAttribute('href');
    expect(/^https:\/\/explorer\.example\/tx\/0x[0-9a-f]{64}$/.test(link), link);
    await world.mine(DELAY + 1);
    const ledger = (await world.submit()).get(wallet);
    await world.mine(DELAY + 1);
    await stage.look();
    expect((await digits('#wallet-due')) + (await digits('#wallet-claimed')) >= ledger, 'less than the list says');
  });

  await stage.check('fees that were paid in are due to the wallet and claimed', async () => {
    const one = 10n ** 18n;
    await world.operate('deposit-fees', '--amount', String(one), '--payment', 'first');
    await stage.look();
    // Rounded down, to the coin's smallest unit.
    expect(/^(1|0\.9{18})$/.test(await page.locator('#wallet-fees-due').innerText()), await stage.text());
    await stage.picture('fees');
    const before = BigInt(await world.chain('eth_getBalance', wallet, 'latest'));
    await stage.press('#wallet-fees');
    await done('in fees');
    const after = BigInt(await world.chain('eth_getBalance', wallet, 'latest'));
    expect(after > before + one - 10n ** 16n, `it had ${before} and has ${after}`);
    await until('nothing more is due', 60, async () => (await page.locator('#wallet-fees-due').innerText()) === '0');
  });

  await stage.check('a claim that is declined costs nothing; one that waits, is stuck, and is replaced, is followed', async () => {
    main.instead = (method) => {
      if (method === 'eth_sendTransaction') throw Object.assign(new Error('rejected'), { code: 4001 });
    };
    await stage.press('#wallet-claim');
    await stage.trouble('You declined');
    main.instead = () => undefined;
    await world.chain('evm_setAutomine', false);
    await stage.press('#wallet-help');
    await stage.says('#wallet-sent', 'Waiting for a block');
    await stage.picture('waiting');
    // Two minutes later.
    await page.evaluate(() => {
      const now = Date.now;
      Date.now = () => now() + 130_000;
    });
    await stage.says('#wallet-sent', 'Still in no block: its fee may be too low');
    await stage.picture('stuck');
    const nonce = await world.chain('eth_getTransactionCount', wallet, 'latest');
    const dear = { maxFeePerGas: '0x2540be4000', maxPriorityFeePerGas: '0x2540be400' };
    await world.chain('eth_sendTransaction', { from: wallet, to: wallet, value: '0x0', nonce, ...dear });
    await world.chain('evm_mine');
    await world.chain('evm_setAutomine', true);
    await stage.says('#wallet-sent', 'Another transaction took its place', 60);
    await page.locator('#wallet-claim:visible').waitFor({ timeout: 60_000 });
  });

  await stage.check('a claim that reverts is told, and what is due still is', async () => {
    const due = await digits('#wallet-due');
    main.instead = (method, [transaction]) =>
      // What the wallet sends fails, though the page asked before.
      method === 'eth_sendTransaction' ? world.chain(method, { from: transaction.from, to: transaction.to, data: '0x12345678', gas: '0x186a0' }) : undefined;
    await stage.press('#wallet-claim');
    await stage.says('#wallet-sent', 'It reverted', 60);
    await page.locator('#wallet-claim:visible').waitFor({ timeout: 60_000 });
    expect((await digits('#wallet-due')) >= due, 'something is lost');
  });

  await stage.check('a reload forgets no transaction, and a wallet that was removed is told', async () => {
    await page.evaluate(() => localStorage.setItem('hide-wallets', '1'));
    await page.reload();
    await stage.says('#wallet-sent', 'It reverted');
    await stage.press('#wallet-check');
    await stage.trouble('is gone from this browser');
    await stage.press('#wallet-help');
    await page.evaluate(() => {
      localStorage.removeItem('hide-wallets');
      dispatchEvent(new Event('eip6963:requestProvider'));
    });
    await stage.choose(main);
    await page.locator('#wallet-claims:visible').waitFor({ timeout: 60_000 });
    await stage.press('#wallet-claim');
    await done('credits');
    const held = await world.read(world.deployed.share, SHARES, wallet);
    await until('all is claimed', 60, async () => (await digits('#wallet-claimed')) === held);
    expect(viem.isAddress(wallet) && held > 0n, 'nothing is held');
  });
}

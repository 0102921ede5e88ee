// A wallet in the browser as extensions put it there: announced by EIP-6963, asked by EIP-1193, its keys and its node
// elsewhere. What it does wrong is set from the test.

import { account } from './world.mjs';

const ICON = `data:image/svg+xml,${encodeURIComponent('<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 8 8"><circle cx="4" cy="4" r="4" fill="#c60"/></svg>')}`;

export class Injected {
  /** Accounts that the page may see, the chosen one first; none: locked. */
  accounts = [];
  chain = undefined;
  /** A function in the node's or the keys' place: gives an answer, throws, or gives nothing to leave it to them. */
  instead = () => undefined;
  asked = [];

  constructor(world, name, rdns) {
    Object.assign(this, { world, name, rdns });
  }

  async request(method, params) {
    this.asked.push(method);
    const other = await this.instead(method, params);
    if (other !== undefined) return other;
    switch (method) {
      case 'eth_requestAccounts':
      case 'eth_accounts':
        return this.accounts.map((index) => account(index).address.toLowerCase());
      case 'eth_chainId':
        return this.chain ?? this.world.chain('eth_chainId');
      case 'wallet_switchEthereumChain':
        this.chain = params[0].chainId;
        return null;
      case 'personal_sign': {
        const signer = this.accounts.map(account).find((one) => one.address.toLowerCase() === params[1].toLowerCase());
        if (!signer) throw Object.assign(new Error('unauthorized'), { code: 4100 });
        return signer.signMessage({ message: { raw: params[0] } });
      }
      default:
        return this.world.chain(method, ...params);
    }
  }
}

/** Puts wallets into every page of a context, which announce themselves as long as `present(rdns)`. */
export async function inject(context, wallets) {
  await context.exposeFunction('askWallet', async (rdns, method, params) => {
    try {
      return { result: (await wallets.find((one) => one.rdns === rdns).request(method, params ?? [])) ?? null };
    } catch (error) {
      return { error: { message: error.message, code: error.code ?? -32603 } };
    }
  });
  const known = wallets.map(({ name, rdns }) => ({ name, rdns, uuid: crypto.randomUUID(), icon: ICON }));
  await context.addInitScript((all) => {
    for (const info of all) {
      const request = async ({ method, params }) => {
        const { result, error } = await window.askWallet(info.rdns, method, params);
        if (error) throw Object.assign(new Error(error.message), error);
        return result;
      };
      const detail = Object.freeze({ info: Object.freeze(info), provider: { request, on() {} } });
      const announce = () => {
        if (localStorage.getItem('hide-wallets')) return;
        dispatchEvent(new CustomEvent('eip6963:announceProvider', { detail }));
      };
      addEventListener('eip6963:requestProvider', announce);
      announce();
    }
  }, known);
}

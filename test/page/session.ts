/** A page in which tests call the functions of one built module, with plain data in and out. */
import type { Browser, Page } from 'playwright-core';
import { type FileServer, serve } from './server.js';

type Functions<M> = { [K in keyof M]: M[K] extends (...args: never[]) => unknown ? M[K] : never };

export interface SessionOptions {
  /** Served under `/made/`. */
  readonly folder?: string;
  /** Whether the page is cross-origin isolated. */
  readonly isolated: boolean;
}

/** An open page on a server of its own, and what it complained about. `M` is the type of the module. */
export class Session<M> {
  readonly complaints: string[] = [];
  private constructor(
    readonly page: Page,
    readonly server: FileServer,
    private readonly module: string,
  ) {
    page.on('pageerror', (error) => this.complaints.push(String(error)));
    page.on('console', (message) => {
      // Browsers ask for an icon by themselves.
      const isIcon = message.location().url.endsWith('/favicon.ico');
      if (message.type() === 'error' && !isIcon) this.complaints.push(message.text());
    });
  }

  /** Opens an empty page; `module` is the path under which the server has the module. */
  static async open<M>(
    browser: Browser,
    module: string,
    { folder = '', isolated }: SessionOptions,
  ): Promise<Session<M>> {
    const server = await serve(folder, { isolated });
    const session = new Session<M>(await browser.newPage(), server, module);
    await session.page.goto(server.address);
    return session;
  }

  /** Calls a function of the module in the page. */
  async call<K extends keyof M & string>(
    name: K,
    ...args: Parameters<Functions<M>[K]>
  ): Promise<Awaited<ReturnType<Functions<M>[K]>>> {
    const call = `import('${this.module}').then((m) => m.${name}(...${JSON.stringify(args)}))`;
    return (await this.page.evaluate(call)) as Awaited<ReturnType<Functions<M>[K]>>;
  }

  async close(): Promise<void> {
    await this.page.close();
    await this.server.close();
  }
}

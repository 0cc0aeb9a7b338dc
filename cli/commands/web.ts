import type { Command } from '../command.js';
import { servePage } from '../pageServer.js';

const DEFAULT_PORT = 8321;

export const command: Command = {
  usage: ['web [--port N]'],
  about: 'Serves the page that runs all tasks in a browser, to this machine only, until Ctrl-C.',
  flags: { port: { value: 'N', help: 'Port to serve on; 0 takes a free one.', default: String(DEFAULT_PORT) } },
  examples: ['beit3 web --port 9000'],
  async run(args, context) {
    args.expect(0, 0, 'nothing');
    const stopped = new Promise<number>((resolve) => context.onInterrupt(resolve));
    const server = await servePage(args.whole('port', 0, 65_535) ?? DEFAULT_PORT);
    const { address } = server;
    if (context.wantsJson) context.json({ address });
    else context.out(`The page is at ${address} until you press Ctrl-C.`);
    const code = await stopped;
    await server.close();
    return code;
  },
};

/** `gwlb explain`: why a flow goes where it goes, asked of the running gateway. */
import { askGateway } from '../api/client.js';
import { type AskArguments, socketOf } from './socket-of.js';

export interface ExplainArguments extends AskArguments {
  endpoint?: string;
}

/** Prints the answer; resolves with the exit code. */
export async function explain(
  protocol: string,
  source: string,
  destination: string,
  given: ExplainArguments,
): Promise<number> {
  const answer = (await askGateway(socketOf(given), '/v1/explain', {
    protocol: /^\d+$/.test(protocol) ? Number(protocol) : protocol,
    source,
    destination,
    ...(given.endpoint !== undefined && { endpoint: given.endpoint }),
  })) as { text: string };
  console.log(given.json ? JSON.stringify(answer) : answer.text);
  return 0;
}

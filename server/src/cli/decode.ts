/** `gwlb decode`: the GENEVE packets of a capture, a line each. */
import {
  type CapturedFrame,
  type DecodedFrame,
  DROP_REASONS,
  decodeFrame,
  GatewayError,
  protocolName,
  readCapture,
} from 'gwlb';
import { numberArgument } from '../errors.js';
import { Output } from './output.js';

export interface DecodeArguments {
  json: boolean;
  port: string;
  optionClass: string;
}

/** The line of one packet as `--json` prints it: keys and their order are a promise. */
export function frameJson(number: number, frame: CapturedFrame, packet: DecodedFrame): string {
  const { outer, geneve, gateway, ethernet, inner, error } = packet;
  return JSON.stringify({
    frame: number,
    time: seconds(frame.timeNs),
    outer,
    geneve,
    gateway,
    ...(ethernet && { ethernet }),
    inner,
    error: error && {
      reason: error.reason,
      layer: error.layer,
      offset: error.offset,
      needed: error.needed,
      had: error.had,
    },
  });
}

/** To microseconds: a double has no more digits for times of today. */
function seconds(timeNs: bigint): number {
  return Number(timeNs / 1000n) / 1e6;
}

/** The same packet for people. */
export function frameText(number: number, frame: CapturedFrame, packet: DecodedFrame): string {
  const { outer, geneve, gateway, ethernet, inner, error } = packet;
  const parts = [String(number), seconds(frame.timeNs).toFixed(6)];
  if (outer) {
    const from = address(outer.source, outer.sourcePort);
    parts.push(`${from} > ${address(outer.destination, outer.destinationPort)}`);
    if (outer.checksum === 'bad') parts.push('bad checksum');
  }
  if (geneve) parts.push(geneveText(geneve, gateway === null));
  if (gateway) parts.push(`${gateway.endpointId} cookie ${gateway.cookie}`);
  if (ethernet) {
    const tags = ethernet.vlan.map((id) => ` vlan ${id}`).join('');
    parts.push(`${ethernet.source} > ${ethernet.destination}${tags} type ${ethernet.etherType}`);
  }
  if (inner) {
    const from = address(inner.source, inner.sourcePort);
    const to = address(inner.destination, inner.destinationPort);
    parts.push(`${protocolName(inner.protocol)} ${from} > ${to} ${inner.length} bytes`);
  }
  if (error) {
    const { reason, layer, offset, needed, had } = error;
    parts.push(
      `ERROR ${reason}: ${DROP_REASONS[reason] ?? reason} ` +
        `(${layer} at byte ${offset}: needed ${needed}, had ${had})`,
    );
  }
  return parts.join('  ');
}

function geneveText(geneve: NonNullable<DecodedFrame['geneve']>, withOptions: boolean): string {
  const flags = `${geneve.oam ? ' O' : ''}${geneve.critical ? ' C' : ''}`;
  const options = withOptions
    ? geneve.options
        .map((option) => ` ${option.class}/${option.type}:${option.data || '-'}`)
        .join('')
    : '';
  return `geneve vni ${geneve.vni} type ${geneve.protocolType}${flags}${options}`;
}

function address(text: string, port: number | null): string {
  if (port === null) return text;
  return text.includes(':') ? `[${text}]:${port}` : `${text}:${port}`;
}

/** Prints the GENEVE packets of a file; resolves with the exit code. */
export async function decode(file: string, given: DecodeArguments): Promise<number> {
  const port = numberArgument('--port', given.port, 1, 65_535);
  const optionClass = numberArgument('--option-class', given.optionClass, 0, 0xffff);
  const line = given.json ? frameJson : frameText;
  const output = new Output();
  let number = 0;
  let found = false;
  try {
    const capture = readCapture(file);
    for (const frame of capture) {
      number += 1;
      const { link, length: wireLength, data } = frame;
      const packet = decodeFrame(data, { link, wireLength, optionClass, port });
      if (packet === null) continue;
      found = true;
      if (!(await output.print(line(number, frame, packet)))) return 0;
    }
    if (!(await output.flush())) return 0;
    const none = `no GENEVE packet (UDP to port ${port}) in ${number} frames`;
    if (capture.error !== null) {
      console.error(`gwlb: ${file}: ${capture.error} (after frame ${number})`);
    }
    const said = capture.unknownLinks ?? (found || capture.error !== null ? null : none);
    if (said !== null) console.error(`gwlb: ${file}: ${said}`);
    if (said === null && capture.error === null) return 0;
  } catch (error) {
    if (!(error instanceof GatewayError) || error.code !== 'ERR_GWLB_CAPTURE') throw error;
    console.error(`gwlb: ${error.message}`);
  }
  return 1;
}

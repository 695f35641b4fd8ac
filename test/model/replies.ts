/** What the gateway itself says to the sender of a packet (rules C2, T4, T15, M1). */
import { ACK, FIN, ipHeaderBytes, type Packet, SYN, tcpHeaderBytes } from './packets.js';

export type Reply =
  | {
      readonly type: 'reset';
      readonly from: readonly [address: string, port: number];
      readonly to: readonly [address: string, port: number];
      readonly sequence: number;
      /** null: no ACK flag. */
      readonly acknowledgment: number | null;
    }
  | {
      readonly type: 'too-big';
      readonly from: string;
      readonly to: string;
      readonly mtu: number;
      /** Bytes of the packet that are quoted. */
      readonly quoted: number;
    };

/** RFC 9293, section 3.5.2: the sequence number that the sender's stack waits for. */
export function resetFor(sent: Packet): Reply {
  const { fragment } = sent;
  const carriedHere = Math.max(0, (fragment?.length ?? Infinity) - tcpHeaderBytes(sent));
  const payload = Math.min(sent.payload, carriedHere);
  const carried = payload + (sent.flags & SYN ? 1 : 0) + (sent.flags & FIN ? 1 : 0);
  const acknowledged = (sent.flags & ACK) !== 0;
  return {
    type: 'reset',
    from: [sent.destination, sent.destinationPort],
    to: [sent.source, sent.sourcePort],
    sequence: acknowledged ? sent.acknowledgment : 0,
    acknowledgment: acknowledged ? null : (sent.sequence + carried) >>> 0,
  };
}

/** RFC 1812, section 4.3.2.3, and RFC 4443, section 2.4: no longer than every host takes. */
export function tooBigFor(sent: Packet, bytes: number, mtu: number): Reply {
  const most = sent.version === 4 ? 576 : 1280;
  const quoted = Math.min(bytes, most - ipHeaderBytes(sent) - 8);
  return { type: 'too-big', from: sent.destination, to: sent.source, mtu, quoted };
}

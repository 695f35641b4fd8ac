/** An appliance, and the gateway that a test plays for it. */
import type { RemoteInfo } from 'node:dgram';
import { Appliance, type ApplianceOptions, encodeGeneve } from '../../src/index.js';
import { bound } from '../support/bound.js';
import type { Teardown } from '../support/teardown.js';

export interface Answer {
  bytes: Buffer;
  from: RemoteInfo;
}

/** The inner packet behind the 40 bytes of a gateway's header. */
export const innerOf = ({ bytes }: Answer): Buffer => bytes.subarray(40);

export interface Gateway {
  answers: Answer[];
  /** Sends an inner packet with the next cookie, and returns the datagram. */
  send: (inner: Uint8Array, endpointId?: string) => Buffer;
}

/** An appliance and a gateway on two addresses of one network, `127.77.1`. */
export class ApplianceRig {
  readonly appliance: string;
  readonly gateway: string;

  constructor(network: string) {
    this.appliance = `${network}.10`;
    this.gateway = `${network}.5`;
  }

  async listen(t: Teardown, options: Partial<ApplianceOptions> = {}): Promise<Appliance> {
    const appliance = await Appliance.listen({
      address: this.appliance,
      healthCheck: false,
      ...options,
    });
    t.teardown(() => appliance.close());
    return appliance;
  }

  /** Sends from a port like a gateway's, and receives on 6081. */
  async gatewayFor(t: Teardown): Promise<Gateway> {
    const receiver = await bound(t, this.gateway);
    const sender = await bound(t, this.gateway, 32_800);
    const answers: Answer[] = [];
    receiver.on('message', (bytes, from) => answers.push({ bytes, from }));
    let cookie = 0;
    const send = (inner: Uint8Array, endpointId = 'vpce-0123456789abcdef0'): Buffer => {
      cookie += 1;
      const gateway = { endpointId, attachmentId: 9n, cookie };
      const protocolType = inner[0] >>> 4 === 6 ? 0x86dd : 0x0800;
      const datagram = Buffer.concat([encodeGeneve({ gateway, protocolType }), inner]);
      sender.send(datagram, 6081, this.appliance);
      return datagram;
    };
    return { answers, send };
  }
}

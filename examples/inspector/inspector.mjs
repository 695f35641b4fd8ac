// An inspector that refuses DNS over anything but UDP, counts what each flow carries, and leaves the rest to
// native code. Run it as an appliance: node inspector.mjs 10.0.1.10. Its unit test is beside it.
import { pathToFileURL } from 'node:url';
import { Appliance, FlowContexts } from 'gwlb';

const DNS = 53;
const TCP = 6;

/** An inspector, and what it knows of flows; `report` is told of each that has ended. */
export function createInspector(report) {
  const flows = new FlowContexts({
    create: (packet) => ({ source: packet.source, packets: 0, bytes: 0 }),
    onEnd: (flow, why) => report({ ...flow, why }),
  });
  const inspector = (packets) => {
    for (const packet of packets) {
      const flow = flows.of(packet);
      if (flow) {
        flow.packets += 1;
        flow.bytes += packet.payload.length;
      }
      if (packet.protocol === TCP && packet.destinationPort === DNS) {
        flows.end(packet);
        packet.reject();
        packet.dropFlow();
      }
    }
  };
  return { inspector, flows };
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href) {
  const { inspector } = createInspector((flow) => console.log(flow));
  const appliance = await Appliance.listen({ address: process.argv[2] ?? '127.0.0.1' });
  appliance.inspect(inspector);
}

/** Rules T1–T16 of docs/rules.md, on the public API; with every cell of the specification's matrix. */
import t, { type Test } from 'tap';
import { ACK, COLUMN_NAMES, COLUMNS, FIN, notOf, of, origins, Rig, RST, SYN } from './rig.js';

const FIRST = '10.0.0.1';
const SECOND = '10.0.0.2';
const THIRD = '10.0.0.3';
const ALL = [FIRST, SECOND, THIRD];
const RESET = { policy: COLUMNS.reset };

/** The test once for each column of the matrix. */
function columns(
  t: Test,
  names: readonly (keyof typeof COLUMNS)[],
  test: (t: Test, rig: Rig, column: keyof typeof COLUMNS) => void,
): void {
  for (const name of names) {
    t.test(name, async (t) => test(t, new Rig(t, { policy: COLUMNS[name] }), name));
  }
}

t.test('T1: unhealthy: new flows go to the other targets of the zone', async (t) => {
  columns(t, COLUMN_NAMES, (t, rig) => {
    t.same(new Set(origins(rig.open(40))), new Set(ALL), 'while all are healthy');
    rig.fail(FIRST);
    t.same(new Set(origins(rig.open(40))), new Set([SECOND, THIRD]));
    t.same(new Set(origins(rig.open(40, 'udp'))), new Set([SECOND, THIRD]));
  });
});

t.test('T2: unhealthy, no_rebalance: its flows stay', async (t) => {
  const rig = new Rig(t);
  const flows = [...rig.open(40), ...rig.open(40, 'udp')];
  rig.fail(FIRST);
  t.same(rig.sayAll(flows), origins(flows));
  t.equal(rig.gateway.counters().flowsMoved, 0);
});

t.test('T3: unhealthy, rebalance: its flows move with their next packet, no others', async (t) => {
  const rig = new Rig(t, { policy: COLUMNS.rebalance });
  const flows = [...rig.open(40), ...rig.open(40, 'udp')];
  const lost = of(flows, FIRST);
  t.ok(lost.length > 10);
  rig.fail(FIRST);
  t.equal(rig.gateway.counters().flowsMoved, 0, 'lazily: not before a packet');
  const others = notOf(flows, FIRST);
  t.same(rig.sayAll(others), origins(others));
  const moved = rig.sayAll(lost);
  t.same(new Set(moved), new Set([SECOND, THIRD]), 'also in the middle of a connection');
  t.same(rig.sayAll(lost), moved, 'once');
  t.same(
    lost.map((flow) => rig.back(flow)),
    moved,
    'both directions',
  );
  t.equal(rig.gateway.counters().flowsMoved, lost.length);
});

t.test('T4: unhealthy, reset: its connections are answered with a RST', async (t) => {
  const rig = new Rig(t, RESET);
  const flows = rig.open(40);
  const datagrams = rig.open(40, 'udp');
  rig.fail(FIRST);
  const others = notOf(flows, FIRST);
  t.same(rig.sayAll(others), origins(others), "nobody else's");
  t.same(rig.sayAll(datagrams), origins(datagrams), 'TCP only');

  const [flow, ...rest] = of(flows, FIRST);
  t.equal(rig.say(flow), 'reset');
  t.equal(rig.back(flow), 'reset', 'each end is told');
  t.equal(rig.say(flow, RST), FIRST, 'a RST is not answered');
  t.equal(rig.gateway.counters().flowsRefused, 1, 'one connection');
  rig.wait(9);
  t.equal(rig.say(flow), 'reset', 'every further packet too');
  rig.wait(11);
  t.equal(rig.say(flow), 'tcp_not_syn', '10 s after its last packet there is no entry any more');

  t.ok(ALL.slice(1).includes(rig.say(rest[0], SYN)), 'a SYN opens a new flow');
  t.ok(ALL.slice(1).includes(rig.say(rest[0])));
  t.equal(rig.say(rest[1]), 'reset');
  t.ok(ALL.slice(1).includes(rig.say(rest[1], SYN)), 'also after a RST');
});

t.test('T4: packets without a TCP header go on to the target', async (t) => {
  const rig = new Rig(t, RESET);
  const [flow] = of(rig.open(20), FIRST);
  const whole = rig.packet(flow);
  const fragment = (offset: number, more: boolean) => {
    const bytes = whole.slice();
    const view = new DataView(bytes.buffer);
    view.setUint16(4, 77);
    view.setUint16(6, (more ? 0x2000 : 0) | (offset / 8));
    return bytes;
  };
  t.equal(rig.send(fragment(0, true)), FIRST);
  rig.fail(FIRST);
  t.equal(rig.send(fragment(1480, false)), FIRST);
  t.equal(rig.send(fragment(0, true)), 'reset');
});

t.test('T5: draining: no new flows; its flows stay, whatever the policy', async (t) => {
  columns(t, COLUMN_NAMES, (t, rig) => {
    const flows = [...rig.open(40), ...rig.open(40, 'udp')];
    rig.group.deregister(FIRST);
    t.same(new Set(origins(rig.open(40))), new Set([SECOND, THIRD]));
    for (let seconds = 0; seconds < 300; seconds += 100) {
      rig.wait(seconds === 0 ? 0 : 99);
      t.same(rig.sayAll(flows), origins(flows));
    }
    t.equal(rig.group.target(FIRST)?.state, 'draining');
  });
});

t.test('T6: delay over, no_rebalance: its flows stay until they end', async (t) => {
  const rig = new Rig(t, { policy: { deregistrationDelaySeconds: 60 } });
  const flows = [...rig.open(40), ...rig.open(40, 'udp')];
  rig.group.deregister(FIRST);
  rig.wait(61);
  t.equal(rig.group.target(FIRST), undefined);
  t.same(rig.sayAll(flows), origins(flows));
  const [first, ...tcp] = of(flows, FIRST).filter(({ protocol }) => protocol === 'tcp');
  rig.wait(200);
  t.equal(rig.say(first), FIRST);
  rig.wait(200);
  t.equal(rig.say(first), FIRST);
  t.equal(rig.say(tcp[0]), 'tcp_not_syn', 'that one was idle for too long');
  t.ok(ALL.slice(1).includes(rig.say(tcp[1], SYN)));
});

t.test('T7: delay over, rebalance: its flows move with their next packet, no others', async (t) => {
  const policy = { ...COLUMNS.rebalance, deregistrationDelaySeconds: 60 };
  const rig = new Rig(t, { policy });
  const flows = [...rig.open(40), ...rig.open(40, 'udp')];
  rig.group.deregister(FIRST);
  rig.wait(61);
  const others = notOf(flows, FIRST);
  t.same(rig.sayAll(others), origins(others));
  const lost = of(flows, FIRST);
  const moved = rig.sayAll(lost);
  t.same(new Set(moved), new Set([SECOND, THIRD]));
  rig.wait(40);
  t.same(rig.sayAll(lost), moved, 'once; also when its slot is free');
});

t.test('T16: an address that is registered again after its end is another machine', async (t) => {
  for (const name of COLUMN_NAMES) {
    const rig = new Rig(t, { policy: { ...COLUMNS[name], deregistrationDelaySeconds: 60 } });
    const flows = [...rig.open(40), ...rig.open(40, 'udp')];
    const before = rig.group.targets().find(({ address }) => address === FIRST)?.slot;
    rig.group.deregister(FIRST);
    rig.wait(61);
    rig.group.register({ address: FIRST });
    t.not(rig.group.targets().find(({ address }) => address === FIRST)?.slot, before);
    const others = notOf(flows, FIRST);
    t.same(rig.sayAll(others), origins(others), name);
    const lost = of(flows, FIRST);
    const { flowsMoved } = rig.gateway.counters();
    const said = rig.sayAll(lost);
    if (name === 'no_rebalance') t.same(said, origins(lost), 'T6');
    if (name === 'rebalance') {
      t.equal(rig.gateway.counters().flowsMoved - flowsMoved, lost.length, 'T7');
      t.same(new Set(said), new Set([FIRST]), 'their row has the same address, with no flows');
    }
    if (name === 'reset') {
      const connections = lost.filter(({ protocol }) => protocol === 'tcp');
      t.same(new Set(rig.sayAll(connections)), new Set(['reset']), 'T8');
    }
    t.ok(
      rig.open(40).some(({ from }) => from === FIRST),
      'it takes new flows',
    );
  }
});

t.test('T8: delay over, reset: its connections are answered with a RST', async (t) => {
  const rig = new Rig(t, { policy: { ...COLUMNS.reset, deregistrationDelaySeconds: 60 } });
  const flows = rig.open(40);
  const datagrams = rig.open(40, 'udp');
  rig.group.deregister(FIRST);
  rig.wait(61);
  const others = notOf(flows, FIRST);
  t.same(rig.sayAll(others), origins(others));
  t.same(rig.sayAll(datagrams), origins(datagrams), 'TCP only');
  for (const flow of of(flows, FIRST)) {
    t.equal(rig.say(flow), 'reset');
    t.equal(rig.back(flow), 'reset');
    t.ok(ALL.slice(1).includes(rig.say(flow, SYN)));
  }
});

t.test('T8: each of the two resets is for its own event', async (t) => {
  const events = { onUnhealthy: 'fail', onDeregistration: 'leave' } as const;
  for (const [option, event] of Object.entries(events)) {
    for (const happens of ['fail', 'leave']) {
      const policy = { sendTcpReset: { [option]: true }, deregistrationDelaySeconds: 0 };
      const rig = new Rig(t, { policy });
      const [flow] = of(rig.open(20), FIRST);
      if (happens === 'fail') rig.fail(FIRST);
      else rig.group.deregister(FIRST);
      t.equal(rig.say(flow), event === happens ? 'reset' : FIRST, `${option}, ${happens}`);
    }
  }
});

t.test('T9: healthy again or new: a share of new flows; no flow moves', async (t) => {
  columns(t, COLUMN_NAMES, (t, rig) => {
    rig.fail(FIRST);
    const flows = [...rig.open(40), ...rig.open(40, 'udp')];
    rig.recover(FIRST);
    rig.group.register({ address: '10.0.0.4' });
    t.same(new Set(origins(rig.open(60))), new Set([...ALL, '10.0.0.4']));
    t.same(rig.sayAll(flows), origins(flows));
  });
});

t.test('T9: flows without a packet while their target was unhealthy stay', async (t) => {
  columns(t, COLUMN_NAMES, (t, rig) => {
    const flows = [...rig.open(40), ...rig.open(40, 'udp')];
    rig.fail(FIRST);
    rig.recover(FIRST);
    t.same(rig.sayAll(flows), origins(flows));
    rig.group.deregister(FIRST);
    rig.wait(10);
    rig.group.register({ address: FIRST });
    t.same(rig.sayAll(flows), origins(flows), 'nor does one that left and came back');
  });
});

t.test('T10: all unhealthy: new flows are pinned to any; flows stay', async (t) => {
  columns(t, COLUMN_NAMES, (t, rig) => {
    const before = rig.rows(200);
    const flows = [...rig.open(40), ...rig.open(40, 'udp')];
    rig.fail(...ALL);
    t.same(rig.rows(200), before, 'by the same rows');
    t.same(rig.sayAll(flows), origins(flows));
    const later = [...rig.open(40), ...rig.open(40, 'udp')];
    t.same(new Set(origins(later)), new Set(ALL));
    t.same(rig.sayAll(later), origins(later), 'pinned');
  });
});

t.test('T10: the policy is for the time when somebody is healthy again', async (t) => {
  const outcomes = { no_rebalance: FIRST, rebalance: THIRD, reset: 'reset' };
  columns(t, COLUMN_NAMES, (t, rig, column) => {
    rig.fail(...ALL);
    const [flow] = of(rig.open(40), FIRST);
    rig.recover(THIRD);
    t.equal(rig.say(flow), outcomes[column]);
  });
});

t.test('T11: no target registered: no_targets, or forwarded with failOpen', async (t) => {
  for (const column of COLUMN_NAMES) {
    const rig = new Rig(t, { policy: COLUMNS[column], targets: [] });
    t.same(origins(rig.open(2)), ['no_targets', 'no_targets'], column);
    t.equal(rig.gateway.counters().flowsRejected, 2);
    rig.group.update({ failOpen: true });
    t.same(origins(rig.open(2)), ['bypass', 'bypass'], column);
    rig.group.register({ address: FIRST });
    t.same(origins(rig.open(2)), [FIRST, FIRST]);
    rig.fail(FIRST);
    t.same(origins(rig.open(2)), [FIRST, FIRST], 'an unhealthy one is better than none');
  }
});

t.test('T12: zones are independent', async (t) => {
  const targets = [
    { address: FIRST, zone: 'a' },
    { address: SECOND, zone: 'b' },
    { address: THIRD, zone: 'b' },
  ];
  for (const column of COLUMN_NAMES) {
    const rig = new Rig(t, { policy: COLUMNS[column], targets });
    const a = rig.open(20, 'tcp', 'a');
    const b = rig.open(20, 'tcp', 'b');
    t.same(new Set(origins(a)), new Set([FIRST]));
    t.same(new Set(origins(b)), new Set([SECOND, THIRD]));
    rig.fail(FIRST);
    t.same(rig.sayAll(a), origins(a), `${column}: nobody else of the zone`);
    t.same(new Set(origins(rig.open(20, 'tcp', 'a'))), new Set([FIRST]), 'sick, but its own');
    rig.group.deregister(FIRST);
    t.same(origins(rig.open(2, 'tcp', 'a')), ['no_targets', 'no_targets']);
    t.same(rig.sayAll(b), origins(b));
  }
});

t.test('T12: with crossZone all zones are one', async (t) => {
  const targets = [
    { address: FIRST, zone: 'a' },
    { address: SECOND, zone: 'b' },
  ];
  const outcomes = { no_rebalance: FIRST, rebalance: SECOND, reset: 'reset' };
  for (const column of COLUMN_NAMES) {
    const rig = new Rig(t, { policy: COLUMNS[column], targets, gateway: { crossZone: true } });
    const flows = rig.open(20, 'tcp', 'a');
    t.same(new Set(origins(flows)), new Set([FIRST, SECOND]));
    rig.fail(FIRST);
    t.same(new Set(origins(rig.open(20, 'tcp', 'a'))), new Set([SECOND]));
    t.equal(rig.say(of(flows, FIRST)[0]), outcomes[column]);
  }
});

t.test('T13: weights are shares of new flows, and 0 takes none', async (t) => {
  const targets = [
    { address: FIRST, weight: 1 },
    { address: SECOND, weight: 3 },
    { address: THIRD, weight: 0 },
  ];
  const rig = new Rig(t, { targets });
  const rows = rig.rows(4000);
  const share = (rows: string[], address: string) =>
    rows.filter((chosen) => chosen === address).length / rows.length;
  t.equal(share(rows, THIRD), 0);
  // Three standard deviations of 4,000 draws; the hash key is fixed.
  t.ok(Math.abs(share(rows, FIRST) - 0.25) < 0.02, `${share(rows, FIRST)}`);

  const flows = rig.open(40);
  rig.group.setWeight(FIRST, 3);
  const raised = rig.rows(4000);
  t.ok(Math.abs(share(raised, FIRST) - 0.5) < 0.02, `${share(raised, FIRST)}`);
  const moved = raised.flatMap((to, n) => (to === rows[n] ? [] : [[rows[n], to].join('>')]));
  t.same(new Set(moved), new Set([`${SECOND}>${FIRST}`]), 'only the rows it must');
  rig.group.setWeight(FIRST, 0);
  t.same(new Set(origins(rig.open(40))), new Set([SECOND]));
  t.same(rig.sayAll(flows), origins(flows), 'flows stay');
});

t.test('T14: slow start: after turning healthy a weight rises in five steps', async (t) => {
  for (const column of COLUMN_NAMES) {
    const rig = new Rig(t, { policy: { ...COLUMNS[column], slowStartSeconds: 60 } });
    const whole = rig.rows(3000);
    rig.fail(FIRST);
    let before = rig.rows(3000);
    const flows = rig.open(40);
    rig.recover(FIRST);
    const weights = [0.1, 0.3, 0.6, 0.8, 1];
    for (const weight of weights) {
      const rows = rig.rows(3000);
      const moved = rows.filter((to, n) => to !== before[n]);
      t.same(new Set(moved), new Set([FIRST]), 'each step moves rows to the target alone');
      const share = rows.filter((to) => to === FIRST).length / rows.length;
      t.ok(Math.abs(share - weight / (weight + 2)) < 0.03, `${share} with ${weight}`);
      t.equal(rig.group.target(FIRST)?.effectiveWeight, weight);
      before = rows;
      rig.wait(15);
    }
    t.same(before, whole);
    t.same(rig.sayAll(flows), origins(flows), 'flows stay');
  }
});

t.test('T15: a RST has the numbers that the sender accepts', async (t) => {
  const rig = new Rig(t, RESET);
  const [flow] = of(rig.open(20), FIRST);
  rig.fail(FIRST);
  const said = (flags: number) => {
    const bytes = rig.packet(flow, flags);
    const view = new DataView(bytes.buffer);
    view.setUint32(24, 0xfffffffe);
    view.setUint32(28, flags & ACK ? 0x12345678 : 0);
    return bytes;
  };
  // Payload of 4 bytes; RFC 9293, section 3.5.2.
  const cases: [number, number, number, number][] = [
    [ACK, RST, 0x12345678, 0],
    [ACK | FIN, RST, 0x12345678, 0],
    [0x08, RST | ACK, 0, 2],
    [FIN, RST | ACK, 0, 3],
  ];
  for (const [flags, answered, sequence, acknowledgment] of cases) {
    t.equal(rig.send(said(flags)), 'reset');
    const { answer } = rig;
    const view = new DataView(answer.buffer);
    t.same(
      {
        from: view.getUint32(12),
        to: view.getUint32(16),
        ports: [view.getUint16(20), view.getUint16(22)],
        sequence: view.getUint32(24),
        acknowledgment: view.getUint32(28),
        flags: answer[33],
        length: answer.length,
      },
      {
        from: 0x0a00020a,
        to: 0xcb007109,
        ports: [443, Number(flow.client.split(':')[1])],
        sequence,
        acknowledgment,
        flags: answered,
        length: 40,
      },
    );
    t.equal(sum(answer.subarray(0, 20)), 0xffff, 'checksum of the header');
    const pseudo = new Uint8Array([...answer.subarray(12, 20), 0, 6, 0, 20]);
    t.equal(sum(new Uint8Array([...pseudo, ...answer.subarray(20)])), 0xffff, 'and of TCP');
  }
});

t.test('idle for too long: a SYN is a new flow, the rest is dropped', async (t) => {
  columns(t, COLUMN_NAMES, (t, rig) => {
    const [one, two] = rig.open(2);
    rig.wait(351);
    t.equal(rig.say(one), 'tcp_not_syn');
    t.equal(rig.say(two, SYN), two.from);
    rig.gateway.setTcpReset({ onIdleTimeout: true });
    t.equal(rig.say(one), 'reset', 'or answered, with the attribute of the listener');
    t.equal(rig.say(one, RST), 'tcp_not_syn');
  });
});

/** RFC 1071; 0xffff where the checksum inside is right. */
function sum(bytes: Uint8Array): number {
  let total = 0;
  for (let i = 0; i < bytes.length; i += 2) total += (bytes[i] << 8) | (bytes[i + 1] ?? 0);
  while (total > 0xffff) total = (total & 0xffff) + (total >>> 16);
  return total;
}

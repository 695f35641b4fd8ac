/** The lines of a replay as they are printed. */
import { replay } from 'gwlb';
import t from 'tap';
import { captureOf, SYN, tcp } from '../../../test/replay/rig.js';
import { lineJson, lineText, summaryText } from '../../src/cli/replay-text.js';

const KEY = '5-tuple tcp 10.0.2.10:443 203.0.113.9:40000';

t.test('lines as JSON and as text, and the summary', async (t) => {
  const run = replay({
    capture: captureOf([
      { at: 0, bytes: tcp(SYN) },
      { at: 1.5, bytes: new Uint8Array([0x45]) },
    ]),
    targets: [{ address: '10.0.1.10' }],
  });
  const [first, , last] = run;
  const cookie = `0x${first.cookie?.toString(16).padStart(8, '0')}`;
  t.equal(
    lineJson(first),
    `{"frame":1,"time":0.000000,"direction":"ingress","flow":{"id":1,"key":"${KEY}","new":true},` +
      `"target":"10.0.1.10","cookie":"${cookie}","verdict":"forward","reason":null}`,
  );
  t.equal(
    lineJson(last),
    '{"frame":2,"time":1.500000,"direction":"ingress","flow":null,"target":null,"cookie":null,' +
      '"verdict":"drop","reason":"inner_truncated"}',
  );
  t.equal(
    lineText(first),
    `1  0.000000  ingress  forward  to 10.0.1.10  cookie ${cookie}  flow 1 (new)  ${KEY}`,
  );
  t.match(lineText(last), /^2 {2}1\.500000 {2}ingress {2}drop {2}inner_truncated: inner packet is/);
  t.equal(
    summaryText(run.summary),
    '2 frames in 1.500000 s, 2 packets, 41 bytes, 1 flows\n' +
      'verdicts: forward 1, drop 1\n' +
      'inner_truncated 1: inner packet is shorter than its headers say\n' +
      'target 10.0.1.10: 1 flows, 1 packets, 40 bytes',
  );
});

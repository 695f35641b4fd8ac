/**
 * The native core against the reference model: random sequences of packets, returns, target events
 * and time. GWLB_SEED repeats a run; GWLB_WIDE=1 makes four times as many.
 */
import t from 'tap';
import { cases } from './commands.js';
import { hold } from './hold.js';
import { run } from './run.js';
import { showCase } from './show.js';

hold(t, 'the gateway decides as the model does', cases(40), run, { runs: 1_000, show: showCase });

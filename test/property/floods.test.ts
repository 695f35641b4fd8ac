/** Full tables against the reference model: rules P1 to P3. */
import t from 'tap';
import { floods } from './commands.js';
import { hold } from './hold.js';
import { run } from './run.js';
import { showCase } from './show.js';

hold(t, 'full tables decide as the model does', floods(8), run, { runs: 20, show: showCase });

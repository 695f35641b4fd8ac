/** Imported before everything else, for the sake of what it does. */
import { holdSignals } from '../service/signals.js';

const SERVICES = ['run', 'appliance'];

/** Whether a command runs until it is told to stop; for others a hang-up is the end, as usual. */
export const IS_SERVICE = SERVICES.includes(process.argv[2] ?? '');

holdSignals(IS_SERVICE ? ['SIGHUP', 'SIGUSR1', 'SIGUSR2'] : ['SIGUSR1', 'SIGUSR2']);

/** `gwlb run`: a gateway in the foreground, until a signal ends it. */
import { loadConfig, problemLine } from '../daemon/config.js';
import { makeLogger } from '../daemon/log.js';
import { Service } from '../daemon/service.js';
import { untilStopped } from './signals.js';

/** Resolves with the exit code, when it was stopped. */
export async function run(path: string, version: string): Promise<number> {
  const loaded = loadConfig(path);
  if (!loaded.ok) {
    for (const problem of loaded.problems) console.error(problemLine(path, problem));
    return 2;
  }
  const log = makeLogger(loaded.config.log.level);
  const stopped = untilStopped();
  let service: Service | null = null;
  let hangUps = 0;
  const reload = (): void => {
    // Before the start is over the file is read once more, then.
    if (service === null) {
      hangUps += 1;
      return;
    }
    service.reopenLogs();
    const again = loadConfig(path);
    if (again.ok) void service.reload(again.config);
    else service.refuse(again.problems.map((problem) => problemLine(path, problem)));
  };
  process.on('SIGHUP', reload);
  try {
    service = await Service.start(loaded.config, log, version);
    if (hangUps > 0) reload();
    const signal = await stopped;
    await service.stop(signal);
    return service.failure === null ? 0 : 1;
  } catch (error) {
    // The configuration is faultless in itself: what was refused is the system's doing.
    const message = error instanceof Error ? error.message : String(error);
    log.fatal({ event: 'failed', error: message }, 'failed');
    console.error(`gwlb: ${message}`);
    return 1;
  } finally {
    process.off('SIGHUP', reload);
  }
}

/** Answers that are computed once for all who ask at the same time. */

/** An answer is computed for at most this part of the time. */
const SHARE = 0.2;

/**
 * `compute`, for many askers: who asks while it computes gets that answer. Another begins no sooner
 * than computing took a fifth of the time since the one before began, so that asking again and again
 * does not keep the process from its work.
 */
export function shared<T>(compute: () => Promise<T> | T): () => Promise<T> {
  let running: Promise<T> | null = null;
  let notBefore = 0;
  const run = async () => {
    const waitMs = notBefore - performance.now();
    if (waitMs > 0) await new Promise((resolve) => setTimeout(resolve, waitMs));
    const begun = performance.now();
    try {
      return await compute();
    } finally {
      notBefore = begun + (performance.now() - begun) / SHARE;
    }
  };
  return () => {
    if (running) return running;
    running = run();
    const over = () => {
      running = null;
    };
    running.then(over, over);
    return running;
  };
}

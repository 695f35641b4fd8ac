/** Standard output of commands that print many lines. */

const CHUNK = 1 << 16;

/** Standard output in large pieces; a reader that went away (`| head`) ends it quietly. */
export class Output {
  #waiting = '';
  #gone = false;
  #failure: Error | null = null;

  constructor() {
    process.stdout.on('error', (error: NodeJS.ErrnoException) => {
      this.#gone = true;
      if (error.code !== 'EPIPE') this.#failure = error;
    });
  }

  /** False where nobody reads any more. */
  async print(line: string): Promise<boolean> {
    this.#waiting += `${line}\n`;
    return this.#waiting.length < CHUNK || this.flush();
  }

  async flush(): Promise<boolean> {
    const text = this.#waiting;
    this.#waiting = '';
    if (text && !this.#gone) {
      await new Promise<void>((resolve) => {
        process.stdout.write(text, () => resolve());
      });
    }
    if (this.#failure) throw this.#failure;
    return !this.#gone;
  }
}

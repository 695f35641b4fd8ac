/** Where thresholds of health checks were before. */
export * from '../health/thresholds.js';

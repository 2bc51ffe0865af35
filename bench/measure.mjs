// Runs a command and measures it from outside: wall time, and the peak resident memory of it and its children.
import { spawn } from 'node:child_process';
import { readdirSync, readFileSync } from 'node:fs';

const read = (path) => {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return '';
  }
};

function family(pid) {
  let tasks = [];
  try {
    tasks = readdirSync(`/proc/${pid}/task`);
  } catch {}
  const children = tasks.flatMap((t) =>
    read(`/proc/${pid}/task/${t}/children`).split(' ').filter(Boolean),
  );
  return [pid, ...children.flatMap(family)];
}

/** Sum over the process and its children of each one's high-water mark, in bytes. */
function peakNow(pid) {
  let sum = 0;
  for (const p of family(pid)) {
    sum += Number(/VmHWM:\s+(\d+)/.exec(read(`/proc/${p}/status`))?.[1] ?? 0) * 1024;
  }
  return sum;
}

/** { seconds, peak, stdout } of a command that succeeds. */
export function measure(command, args) {
  return new Promise((resolve, reject) => {
    const began = performance.now();
    const child = spawn(command, args, { stdio: ['ignore', 'pipe', 'pipe'] });
    let peak = 0;
    let stdout = '';
    let stderr = '';
    const timer = setInterval(() => {
      peak = Math.max(peak, peakNow(child.pid));
    }, 10);
    child.stdout.on('data', (d) => {
      stdout += d;
    });
    child.stderr.on('data', (d) => {
      stderr += d;
    });
    child.on('error', reject);
    child.on('close', (code) => {
      clearInterval(timer);
      const seconds = (performance.now() - began) / 1000;
      if (code === 0) resolve({ seconds, peak, stdout });
      else
        reject(
          new Error(
            `${command} ${args.slice(0, 2).join(' ')} … failed (${code}): ${stderr.slice(-500)}`,
          ),
        );
    });
  });
}

/** { min, median, max } */
export function spread(values) {
  const sorted = [...values].sort((a, b) => a - b);
  const round = (x) => Number(x.toPrecision(4));
  return {
    min: round(sorted[0]),
    median: round(sorted[Math.floor(sorted.length / 2)]),
    max: round(sorted.at(-1)),
  };
}

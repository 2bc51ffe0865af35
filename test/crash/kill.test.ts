// A smaller number of what scripts/kill_harness.mjs does at length; and every call of the riskiest run.
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { root } from '../helpers/cli.js';
import { useFolder } from '../helpers/folder.js';
import { buildFault, cycle, drawMoments, measure, type Places, randomOf } from './harness.js';
import { makeZoo, type Scenario, scenarios } from './scenarios.js';

const at = useFolder();
const SEED = 20;
const digits = join(root, 'examples/digits');
const names = scenarios(digits, []).map((s) => s.name);

const places: Places = { program: join(root, 'dist/cli.js'), fault: '', work: '' };
let all: Scenario[] = [];
let canKill = false;
const library = mkdtempSync(join(tmpdir(), 'stockpot-fault-'));
afterAll(() => rmSync(library, { recursive: true }));
beforeAll(() => {
  places.work = at('work');
  places.fault = join(library, 'fault.so');
  mkdirSync(places.work);
  canKill = buildFault(join(root, 'test/crash/fault.c'), places.fault);
  all = scenarios(digits, makeZoo(at('zoo'), 3, 4e6));
});

const find = (name: string): Scenario => all.find((s) => s.name === name) as Scenario;

describe('behaviour 22: kill -9', () => {
  beforeEach(({ skip }) => {
    if (!canKill) skip('needs Linux and a C compiler');
  });

  // What is on the disk before a call is what is there after the one before.
  it.each<[string, NodeJS.ProcessEnv]>([
    ['that can exchange two', {}],
    ['that cannot', { FAULT_NO_EXCHANGE: '1' }],
  ])('while a folder is replaced, on a file system %s', async (_, env) => {
    const scenario = { ...find('uniform: a folder in place of another'), env };
    // Without an exchange there is a moment without any output; the next run puts the old one back.
    const moments = env.FAULT_NO_EXCHANGE ? ['new', 'none', 'old'] : ['new', 'old'];
    const baseline = await measure(places, scenario, 1);
    const place = baseline.calls.findIndex((c) => /^flock .*\/out\/soup$/.test(c));
    expect(place).toBeGreaterThan(0);
    const seen = new Set<string>();
    for (let call = place; call <= baseline.calls.length; call++) {
      const { kills, failures } = await cycle(places, scenario, baseline, [
        { kind: 'call', at: call, does: 'before' },
      ]);
      expect(failures, `before call ${call}, ${baseline.calls[call - 1]}`).toEqual([]);
      for (const { output } of kills) seen.add(output);
    }
    expect([...seen].sort()).toEqual(moments);
  });

  it.each(names)('at random moments, and of what goes on after a kill: %s', async (name) => {
    const scenario = find(name);
    const baseline = await measure(places, scenario, 1);
    const random = randomOf(SEED + names.indexOf(name));
    const at = 1 + Math.floor(random() * baseline.calls.length);
    let kills = 0;
    for (const moments of [
      [{ kind: 'call', at, does: 'after' } as const],
      drawMoments(baseline, random),
    ]) {
      const { kills: made, failures } = await cycle(places, scenario, baseline, moments);
      expect(failures, JSON.stringify(moments)).toEqual([]);
      kills += made.length;
    }
    expect(kills).toBeGreaterThan(0);
  });
});
